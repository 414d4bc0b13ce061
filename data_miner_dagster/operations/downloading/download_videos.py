"""Download the catalog's videos as verified files under the root."""

import logging
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from data_miner_dagster.catalog.claims import Claim
from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.catalog.politeness import postpone_video
from data_miner_dagster.catalog.room import wait_for_room
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.site_events import refused_in_events, was_refused
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video, is_due, keys_with_internal_errors
from data_miner_dagster.domain.addresses import AddressError, LocalPath, address_of
from data_miner_dagster.domain.at_work import InheritingThreads
from data_miner_dagster.domain.errors import (
    ClaimHeldError,
    ClaimLostError,
    RunEndedError,
    VideoPermanentError,
    VideoTransientError,
)
from data_miner_dagster.domain.full_disks import disk_full_is_the_videos
from data_miner_dagster.domain.keys import FILE_PREFIX, FRAMES_PREFIX, OBJECT_PREFIX, VIDEO_STEM
from data_miner_dagster.domain.meters import Meter, floor
from data_miner_dagster.domain.object_urls import ObjectUrl
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import (
    OutcomeStatus,
    Rejection,
    VideoCandidate,
    VideoOutcome,
)
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.downloading.admission import (
    NoRoomYetError,
    check_head_room,
    check_room,
    postpone_if_not_its_own,
)
from data_miner_dagster.operations.downloading.imported_frames import take_frames
from data_miner_dagster.operations.downloading.network import NetworkWatch
from data_miner_dagster.operations.downloading.objects import fetch_object
from data_miner_dagster.operations.downloading.partial_folders import begin_partial_folder
from data_miner_dagster.operations.downloading.proofs import prove
from data_miner_dagster.operations.downloading.records import (
    NotWantedError,
    mend_row,
    metadata_of,
    put_back,
    record_done,
    record_failure,
    record_fault,
    record_not_wanted,
    stays_downloaded,
)
from data_miner_dagster.operations.downloading.turns import Turns, site_of, sites_of
from data_miner_dagster.operations.downloading.wishes import Wishes, wishes_by_video
from data_miner_dagster.operations.foreign.media_workers import MediaWorkers, media_workers
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.item_faults import item_guard
from data_miner_dagster.operations.platform import Platform, ReportVideo
from data_miner_dagster.operations.politeness import NotYetError, PostponedError, SitePoliteness
from data_miner_dagster.operations.room import Room
from data_miner_dagster.operations.sourcing.rules import with_known
from data_miner_dagster.operations.tracing import noted
from data_miner_dagster.sites.local_files import fetch_local_file
from data_miner_dagster.sites.records import FetchedVideo
from data_miner_dagster.stages.downloading.failures import (
    try_delay_seconds,
)
from data_miner_dagster.stages.downloading.site_health import SUSPECT_KINDS
from data_miner_dagster.storage.atomic import flush
from data_miner_dagster.storage.videos import VideoInfo, read_video_info, write_video_info
from data_miner_dagster.workers.errors import WorkersClosedError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Run:
    """State that all videos of one call share."""

    platform: Platform
    client: SiteWorkers
    media: MediaWorkers
    politeness: SitePoliteness
    network: NetworkWatch
    room: Room
    wishes_by_video: Mapping[str, Wishes]
    force: bool
    is_another_try: bool = False  # True while interrupted downloads are retried within the same run
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the batch shuts down. Threads that wait for a claim or a retry then stop waiting."""

    def wishes_of(self, key: str) -> Wishes:
        """Return the projects that want a video."""
        return self.wishes_by_video.get(key) or Wishes({}, {})


def download_videos(
    platform: Platform, video_keys: Sequence[str], *, force: bool = False, report: ReportVideo | None = None
) -> list[VideoOutcome]:
    """Download missing videos, several at a time. Return one outcome per key, in the given order.

    Without `force`, a video is REUSED if its manifest and file exist, or if it has frames and its file was removed to
    free space. A failure is recorded with its kind and does not stop other videos. `report` is called with each
    outcome, even if a later try replaces the outcome.

    A video that failed before is retried once its retry time has passed, or with `force`. While a breaker is open or a
    budget is used up, videos are postponed, and downloaded automatically later.

    Raises:
        ConfigError: a cookie file or environment variable that the configuration names does not exist.
        OutageError: the network is down, or a disk or memory error affects all videos.
        SystematicFaultError: the same internal error occurred on all videos (three or more), or on ten in a row.
    """
    keys = list(dict.fromkeys(video_keys))
    config = platform.config.downloading
    politeness = SitePoliteness(platform)
    wishes = wishes_by_video(platform, keys)
    refused = refused_in_events(platform.database, keys)
    keys.sort(key=lambda key: key in refused)  # refused videos last: others are a better test of the site
    is_of_sites = any(_needs_a_site(platform, key) for key in keys)
    with (
        SiteWorkers(config, may_request=politeness.may_request, on_response=politeness.on_response) as client,
        media_workers(config, client.prover_pool() if is_of_sites else None) as media,
    ):
        politeness.when_closed = client.recheck
        if is_of_sites:
            client.start()
        run = _Run(platform, client, media, politeness, NetworkWatch(platform), Room(platform), wishes, force)
        outcomes: dict[str, VideoOutcome] = {}

        def settle(outcome: VideoOutcome) -> None:
            outcomes[outcome.video_key] = outcome
            if report is not None:
                report(outcome)

        _download_all(run, keys, settle)
        for tries in range(1, config.tries_per_run):
            # Wait first: if several downloads in a row break off, their videos are not the cause.
            cut_off = [key for key, outcome in outcomes.items() if outcome.error_kind is VideoErrorKind.CUT_OFF]
            if not cut_off:
                break
            time.sleep(try_delay_seconds(tries, config) or 0.0)
            _download_all(replace(run, is_another_try=True), cut_off, settle)
        for key, outcome in list(outcomes.items()):
            # These videos failed before it was known that the whole site refuses requests.
            row = find_video(platform.database, key) if outcome.error_kind in SUSPECT_KINDS else None
            if row is not None and (now := _as_of_site(run, row, outcome)) is not outcome:
                settle(now)
    return [outcomes[key] for key in video_keys]


def _download_all(run: _Run, keys: Sequence[str], settle: ReportVideo) -> None:
    """Download videos, several at a time. Pass each outcome to `settle`."""
    platform, config = run.platform, run.platform.config.downloading
    turns = Turns(sites_of(platform, keys), concurrent_per_site=config.politeness.concurrent_per_site)

    def work() -> None:
        while (key := turns.take()) is not None:
            one(key)

    def one(key: str) -> None:
        outcome = guard.attempt(
            key, lambda: _download_one(run, key), lambda fault: settle(record_fault(platform, key, fault)), proves=False
        )
        if isinstance(outcome, NotYetError):
            turns.put_back(key, outcome.seconds)
            return
        turns.done(key)
        if outcome is not None:
            if outcome.status is OutcomeStatus.DONE:
                guard.succeed()
            settle(outcome)

    with item_guard("download_videos", keys_with_internal_errors(platform.database, keys)) as guard:
        threads = InheritingThreads(config.concurrent_downloads, "download")
        try:
            at_work = [threads.submit(work) for _ in range(min(len(keys), config.concurrent_downloads))]
            for ended in futures.wait(at_work, return_when=futures.FIRST_EXCEPTION).done:
                ended.result()
        except BaseException:
            run.stopping.set()
            turns.stop()
            run.client.close()  # nothing waits for the remaining downloads any longer
            run.media.close()
            raise
        finally:
            threads.shutdown(cancel_futures=True)


def _download_one(run: _Run, key: str) -> VideoOutcome | NotYetError:
    try:
        meter = Meter(WorkStage.DOWNLOADING, key, run.platform.run_id)
        with run.platform.hold_video(key, stopping=run.stopping) as claim, meter.working():
            return noted(_download_held(run, claim, key))
    except NotYetError as error:
        return error
    except ClaimHeldError as error:
        if run.stopping.is_set():
            raise WorkersClosedError from None
        return VideoOutcome(key, OutcomeStatus.BLOCKED, message=str(error))


def _download_held(run: _Run, claim: Claim, key: str) -> VideoOutcome:
    platform = run.platform
    row = find_video(platform.database, key)
    if row is None:
        return VideoOutcome(
            key,
            OutcomeStatus.BLOCKED,
            message=f"video {key!r} is not in the catalog; list its source with `data-miner populate --config FILE "
            "--force`",
        )
    info = None if run.force else read_video_info(platform.layout, key)
    if info is not None:
        mend_row(platform, row, info)
        return VideoOutcome(key, OutcomeStatus.REUSED, metadata=metadata_of(info))
    if not run.force and row.status is VideoStatus.EXTRACTED and row.sha256 is not None and row.stored_bytes is None:
        message = "the video's frames exist, and its file was removed to free space"
        return VideoOutcome(key, OutcomeStatus.REUSED, message=message)
    has_failed = row.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE)
    if has_failed and not (run.force or run.is_another_try or is_due(row)):
        status = OutcomeStatus.FAILED if row.status is VideoStatus.FAILED else OutcomeStatus.UNAVAILABLE
        return VideoOutcome(key, status, row.error_kind, row.error or "")
    try:
        run.wishes_of(key).check_decided()
        check_room(platform, row, run.room.make_for(row))
        check_head_room(platform, row)
        if not row.origin.is_of_site:
            return _work(run, claim, row)
        with run.politeness.place(site_of(row.key, row.url), key) as begun_at:
            return _work(run, claim, row, begun_at)
    except PostponedError as error:
        with platform.database.transaction() as session:
            if not stays_downloaded(platform, session, key):
                postpone_video(session, key, error.until, error.kind, str(error), attempts=row.attempts)
            store_spent(session, key, is_failed=True)
        return VideoOutcome(key, OutcomeStatus.FAILED, error.kind, str(error))
    except NoRoomYetError as error:
        with platform.database.transaction() as session:
            wait_for_room(session, key, error.until, str(error), attempts=row.attempts)
        return VideoOutcome(key, OutcomeStatus.BLOCKED, VideoErrorKind.DISK_FULL, str(error))


def _needs_a_site(platform: Platform, key: str) -> bool:
    return (
        not key.startswith((FILE_PREFIX, FRAMES_PREFIX, OBJECT_PREFIX)) and not platform.layout.video_info(key).exists()
    )


def _work(run: _Run, claim: Claim, row: VideoRow, begun_at: datetime | None = None) -> VideoOutcome:
    """Download one video, and return its outcome.

    `begun_at` is the time of the request to the video's site, or None if the video does not come from a site.
    """
    platform, key, attempts = run.platform, row.key, row.attempts + (0 if run.is_another_try else 1)
    with platform.database.transaction() as session:
        check_room(platform, row, run.room.promise(session, row))
        if row.status is not VideoStatus.DOWNLOADING:  # DOWNLOADING: left by a dead worker, whose claim is now ours
            move_video(session, key, VideoStatus.DOWNLOADING, attempts=attempts)
    try:
        with disk_full_is_the_videos(platform.root), platform.working_under(claim):
            info, rejections = _fetch_with_tries(run, claim, row, begun_at)
    except (ClaimLostError, RunEndedError):
        raise
    except NotWantedError as error:
        return record_not_wanted(platform, row, error)
    except (VideoPermanentError, VideoTransientError) as error:
        return _outcome_of_error(run, row, error, attempts, begun_at)
    except Exception:
        put_back(platform, row)
        raise
    with platform.database.transaction() as session:
        skipping = [name for name, rules in run.wishes_of(key).rules.items() if rules.rules.skip_reuploads]
        record_done(session, info, rejections, skipping)
        store_spent(session, key, bytes_written=info.file.size_bytes if info.file.file_name else 0)
        ends_refusals = begun_at is not None and was_refused(session, site_of(row.key, row.url), key, begun_at)
    if begun_at is not None:
        run.network.note_answer()
    if begun_at is not None and ends_refusals:
        run.politeness.note_served(key, site_of(row.key, row.url), begun_at)
    return VideoOutcome(key, OutcomeStatus.DONE, metadata=metadata_of(info))


def _outcome_of_error(
    run: _Run, row: VideoRow, error: VideoPermanentError | VideoTransientError, attempts: int, begun_at: datetime | None
) -> VideoOutcome:
    """Record a failed download, and return its outcome. Raise PostponedError if the video did not cause the failure."""
    site = site_of(row.key, row.url)
    postpone_if_not_its_own(run.politeness, site, attempts, error, run.platform.config.downloading)
    outcome = record_failure(run.platform, row.key, attempts, error)
    if begun_at is not None:
        run.network.note_failure(row, site, error)
    if error.is_of_file_alone:
        _note_served(run, row, begun_at)
    return _as_of_site(run, row, outcome)


def _note_served(run: _Run, row: VideoRow, begun_at: datetime | None) -> None:
    """Forget a site's earlier refusals, because it has delivered this video's file, which is complete but unusable."""
    if begun_at is None:
        return
    with run.platform.database.reading() as session:
        ends_refusals = was_refused(session, site_of(row.key, row.url), row.key, begun_at)
    if ends_refusals:
        run.politeness.note_served(row.key, site_of(row.key, row.url), begun_at)


def _as_of_site(run: _Run, row: VideoRow, outcome: VideoOutcome) -> VideoOutcome:
    """Return `outcome`, or cancel the failure and return the site's refusal if the whole site refuses requests."""
    if not row.origin.is_of_site or outcome.error_kind not in SUSPECT_KINDS:
        return outcome
    reason = run.politeness.put_back(row.key, site_of(row.key, row.url))
    return (
        outcome if reason is None else VideoOutcome(row.key, OutcomeStatus.FAILED, VideoErrorKind.SITE_REFUSAL, reason)
    )


def _fetch_with_tries(
    run: _Run, claim: Claim, row: VideoRow, begun_at: datetime | None
) -> tuple[VideoInfo, dict[str, Rejection]]:
    tries = 0
    while True:
        tries += 1
        try:
            return _fetch(run, claim, row)
        except (VideoPermanentError, VideoTransientError) as error:
            if error.kind in SUSPECT_KINDS and not error.is_of_file_alone and begun_at is not None:
                run.politeness.note_refusal(row, site_of(row.key, row.url), error.kind, str(error), begun_at)
            delay = try_delay_seconds(tries, run.platform.config.downloading)
            if delay is None or error.kind is not VideoErrorKind.TRANSIENT:
                raise
            logger.info("%s: %s; retrying in %.1f s", row.key, error, delay)
            if run.stopping.wait(delay):
                raise WorkersClosedError from None


def _fetch(run: _Run, claim: Claim, row: VideoRow) -> tuple[VideoInfo, dict[str, Rejection]]:
    """Fetch and verify a video, then publish it: the file first, the manifest last.

    Return the manifest, and the rejections of the video by project.
    """
    platform, config, wishes = run.platform, run.platform.config.downloading, run.wishes_of(row.key)
    if row.key.startswith(FRAMES_PREFIX):
        return take_frames(platform, row), {}
    folder = platform.layout.video_folder(row.key)
    partial = begin_partial_folder(folder, claim)
    run.media.start()  # the workers import their libraries while the file arrives

    try:
        address = address_of(row.origin, row.url)
        if isinstance(address, LocalPath):
            with floor():
                path = fetch_local_file(Path(address.text), partial, how=config.local_files)
            known = VideoCandidate(row.key, row.url, "files", "", 0, utc_now(), title=row.title, origin=row.origin)
            fetched = FetchedVideo(path, "file", None, known)
        elif isinstance(address, ObjectUrl):
            fetched = fetch_object(platform, row, address, partial, check=lambda: platform.check_held(claim))
        else:
            fetched = run.client.fetch(row.key, address, partial, found_at=utc_now(), accept=wishes.check_accepted)
        info = prove(run.media, config, row, fetched)
    except AddressError as error:
        raise VideoPermanentError(VideoErrorKind.POLICY, f"the listed address cannot be used: {error}") from None
    except VideoPermanentError as error:
        if not error.kind.is_of_site:  # a site may still deliver the rest
            shutil.rmtree(partial)  # these bytes are not a useful start for another attempt
        raise
    platform.check_held(claim)
    platform.layout.video_info(row.key).unlink(missing_ok=True)  # from here on, the old file no longer counts
    for old in folder.glob(f"{VIDEO_STEM}.*"):
        old.unlink()
    flush(fetched.path)  # before the manifest says that the file exists
    fetched.path.replace(folder / info.file.file_name)
    write_video_info(platform.layout, info)
    shutil.rmtree(partial)
    proven = replace(
        fetched.candidate,
        duration_seconds=info.file.duration_seconds,
        width=info.file.width,
        height=max(info.file.height, fetched.candidate.height or 0),  # rules apply to the site's largest version
    )
    return info, wishes.rejections_of(proven if row.origin.is_of_site else with_known(proven, row))
