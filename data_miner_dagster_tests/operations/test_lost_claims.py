"""A worker that slept while another took over its work stops, publishes nothing and charges nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from data_miner_dagster.catalog import claims
from data_miner_dagster.catalog.claims import live_claims
from data_miner_dagster.catalog.leases import RunLease
from data_miner_dagster.catalog.projects import find_project, save_snapshot
from data_miner_dagster.catalog.renewal import held_clock
from data_miner_dagster.catalog.schema import ClaimRow, VideoRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video, record_downloaded
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import ClaimLostError, RunEndedError, VideoPermanentError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoFileRecord
from data_miner_dagster.domain.statuses import ProjectStage, VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.downloading.proofs import prove
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.extraction.workers import FrameWorkers
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import project_stage
from data_miner_dagster.storage.atomic import PARTIAL_MARK, is_partial_of
from data_miner_dagster_tests.support.catalog import add_video

KEY = "urls-a"


@pytest.fixture
def platform(tmp_path: Path, clip: bytes) -> Platform:
    """Return a platform with one video, a local file that is waiting to be downloaded."""
    made = Platform(PlatformConfig.model_validate({"downloading": {"min_free_bytes": 0}}), tmp_path / "root")
    add_video(made.database, KEY)
    source = tmp_path / "source.mp4"
    source.write_bytes(clip)
    with made.database.transaction() as session:
        row = session.get_one(VideoRow, KEY)
        row.url, row.origin = str(source), Origin.LOCAL
    return made


def put_into_place(platform: Platform) -> None:
    """Store the video as if it had been downloaded."""
    path = platform.layout.video_folder(KEY) / "video.mp4"
    path.parent.mkdir(parents=True)
    row = find_video(platform.database, KEY)
    assert row is not None
    shutil.copyfile(row.url, path)
    with platform.database.transaction() as session:
        move_video(session, KEY, VideoStatus.DOWNLOADING)
        record = VideoFileRecord("video.mp4", path.stat().st_size, sha256_of_file(path), 2.0, 192, 128)
        record_downloaded(session, KEY, record)


def status_of(platform: Platform) -> VideoStatus:
    row = find_video(platform.database, KEY)
    assert row is not None
    assert row.error is None
    return row.status


@pytest.fixture
def sleep_too_long(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that simulates an hour's sleep, during which another host takes over all claims."""

    def sleep() -> None:
        with platform.database.transaction() as session:
            session.execute(update(ClaimRow).values(token="f" * 32, host="elsewhere"))
        monkeypatch.setattr(claims, "held_clock", lambda: held_clock() + 3600)

    return sleep


@pytest.mark.parametrize("is_bad", [False, True])
def test_extract_frames__a_lost_claim_publishes_no_folder_and_charges_no_failure(
    platform: Platform, sleep_too_long: Callable[[], None], monkeypatch: pytest.MonkeyPatch, is_bad: bool
) -> None:
    put_into_place(platform)
    make = FrameWorkers.make_frame_folder
    written_in: list[str] = []

    def slow(self: FrameWorkers, job: Any) -> Any:
        made = make(self, job)
        written_in.append(job.folder.name)
        [mine] = live_claims(platform.database)
        assert is_partial_of(job.folder.name, [mine.token])
        sleep_too_long()
        if is_bad:  # as if the other worker had removed the unfinished work
            raise VideoPermanentError(VideoErrorKind.UNDECODABLE, "planted")
        return made

    monkeypatch.setattr(FrameWorkers, "make_frame_folder", slow)
    with pytest.raises(ClaimLostError, match="lost its claim on video/urls-a"):
        extract_frames(platform, [KEY])
    assert len(written_in) == 1
    assert status_of(platform) is VideoStatus.EXTRACTING, "the other worker's"
    assert not platform.layout.frames_folder(KEY).exists()
    assert [claim.host for claim in live_claims(platform.database)] == ["elsewhere"]


def test_download_videos__a_lost_claim_publishes_no_file(
    platform: Platform, sleep_too_long: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:

    def slow(*arguments: Any) -> Any:
        proven = prove(*arguments)
        [folder] = platform.layout.video_folder(KEY).glob(f"{PARTIAL_MARK}*")
        assert is_partial_of(folder.name, [claim.token for claim in live_claims(platform.database)])
        sleep_too_long()
        return proven

    monkeypatch.setattr("data_miner_dagster.operations.downloading.download_videos.prove", slow)
    with pytest.raises(ClaimLostError, match="lost its claim on video/urls-a"):
        download_videos(platform, [KEY])
    assert status_of(platform) is VideoStatus.DOWNLOADING
    assert not platform.layout.video_info(KEY).exists()
    monkeypatch.undo()
    with platform.database.transaction() as session:
        session.execute(update(ClaimRow).values(host="code-aaaa", expires_at=claims_date(platform)))
    assert download_videos(platform, [KEY])[0].status is OutcomeStatus.DONE
    assert not list(platform.layout.video_folder(KEY).glob(f"{PARTIAL_MARK}*"))


def claims_date(platform: Platform) -> Any:
    """Return the time at which a claim was made, which serves as an expiry time in the past."""
    return live_claims(platform.database)[0].claimed_at


@pytest.mark.parametrize("raises", [None, ValueError("planted"), VideoPermanentError(VideoErrorKind.UNDECODABLE, "x")])
def test_project_stage__of_another_worker_by_now_keeps_the_row_as_that_one_has_it(
    platform: Platform, sleep_too_long: Callable[[], None], raises: Exception | None
) -> None:
    save_snapshot(platform.database, "bikes", {}, "hash", None)

    def work() -> None:
        with project_stage(platform, "bikes", ProjectStage.FILTERING) as stage:
            stage.begin()
            sleep_too_long()
            if raises is not None:
                raise raises

    with pytest.raises(ClaimLostError, match="lost its claim on project/bikes"):
        work()
    row = find_project(platform.database, "bikes")
    assert row is not None
    assert (row.stage, row.error) == (ProjectStage.FILTERING, None)


def test_within__a_run_that_was_ended_stops_at_its_next_item(platform: Platform) -> None:
    put_into_place(platform)
    lease = RunLease("run-1")
    ours = platform.within(lease)
    with ours.hold_video("video-b"):
        assert [claim.run_id for claim in live_claims(platform.database)] == ["run-1"]
    assert (ours.run_id, platform.run_id, ours.database is platform.database) == ("run-1", None, True)
    assert lease.num_done == 1
    lease.is_lost = True
    with pytest.raises(RunEndedError, match="this run was cancelled, or was ended"):
        extract_frames(ours, [KEY])
    assert status_of(platform) is VideoStatus.DOWNLOADED
    assert live_claims(platform.database) == []
