"""Forecast a project's time and results from a listing of its sources and the rates measured in its root."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.catalog.box_answers import spent_on_answers
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.seen import Seen, seen
from data_miner_dagster.catalog.videos import due_at
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.config.verification import VerifierConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading.turns import site_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.dry_listing import DryListing, list_without_keeping
from data_miner_dagster.operations.verification.endpoint_verifier import endpoint_fingerprint
from data_miner_dagster.operations.verification.verify_boxes import read_verification
from data_miner_dagster.stages.detection.windows import expected_looks
from data_miner_dagster.stages.forecast import (
    DEFAULT,
    DEFAULT_RATES,
    Forecast,
    ListedVideo,
    Rate,
    Rates,
    SiteLimits,
    forecast_of,
    origins_of,
)
from data_miner_dagster.stages.verification.budgets import PaidAnswers, VerificationBound, bound_of
from data_miner_dagster.stages.verification.questions import asking_fingerprint, is_asked
from data_miner_dagster.storage.tables import read_table

_STORED: Final = (VideoStatus.DOWNLOADED, VideoStatus.EXTRACTING, VideoStatus.EXTRACTED)
_USUAL_FRAME_RATE: Final = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """The result of `data-miner plan`: a listing of the project's sources, and a forecast for the listed videos."""

    project: str
    listing: DryListing
    forecast: Forecast
    num_given_up: int  # accepted videos that failed and will not be retried, so the forecast excludes them
    prescreens: bool  # True if sourcing also rejects videos by their thumbnails, which a plan does not examine
    num_neighbours: int | None = None  # pictures around frames to decode and examine, or None without tracking
    follows_whole_clips: bool = False  # True if objects are followed through whole videos, not only through windows
    video_tracker: str | None = None  # the model that examines images and neighbours, or None if the detectors do
    verification: VerificationBound | None = None  # limits on the verifier's questions and cost, if there is a verifier

    @property
    def num_tracked(self) -> int:
        """The number of images and of pictures around frames that the tracking model examines, each counted once.

        It is 0 without a tracking model.
        """
        return (self.num_neighbours or 0) + self.forecast.num_images if self.video_tracker is not None else 0

    @property
    def neighbours_bytes(self) -> int:
        """The expected size, in bytes, of the pictures around frames that are used to follow objects."""
        return round((self.num_neighbours or 0) * self.forecast.rates.bytes_per_frame.value)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as a JSON-compatible dict."""
        listing, forecast = self.listing, self.forecast.as_json()
        return {
            "project": self.project,
            "listed": listing.num_listed,
            "repeated": listing.num_repeated,
            "forgotten": listing.num_forgotten,
            "given_up": self.num_given_up,
            "rejected": {rule.value: number for rule, number in listing.num_by_rule.items()},
            "prescreens": self.prescreens,
            "failed_sources": [
                {"source": item.source, "query": item.query, "error": item.error} for item in listing.failed
            ],
            "listing_requests": listing.num_requests,
            **forecast,
            **({} if self.num_neighbours is None else {"num_neighbours": self.num_neighbours}),
            **({} if self.video_tracker is None else {"tracker": self.video_tracker, "num_tracked": self.num_tracked}),
            **({} if self.verification is None else {"verification_at_most": asdict(self.verification)}),
            "rates_by_origin": origins_of(self.forecast.rates),
        }


def plan_project(platform: Platform, config: ProjectConfig, config_file: Path) -> Plan:
    """List a project's sources, and forecast its time, sizes and results. No video is fetched and nothing is stored.

    Raises:
        ConfigError: no source could be listed, a blocklist cannot be read, or the verifier is not configured.
    """
    with _with_catalog(platform) as asked:
        listing = list_without_keeping(asked, config, config_file)
        rates = rates_of(asked, config.name)
        known = [(candidate, listing.rows.get(candidate.video_key)) for candidate in listing.wanted]
        videos = [_listed(candidate, row) for candidate, row in known if not _is_given_up(row)]
        bound = verification_of(asked, config, has_new_videos=not all(video.has_frames for video in videos))
    sites = {video.site for video in videos if video.site is not None}
    forecast = forecast_of(videos, rates, {site: _limits_of(site, platform) for site in sites})
    tracking = config.detection.tracking
    num_neighbours = None if tracking is None else expected_looks(forecast.num_images, forecast.hours * 3600, tracking)
    return Plan(
        config.name,
        listing,
        forecast,
        len(known) - len(videos),
        config.sourcing.prescreening.enabled,
        num_neighbours,
        tracking is not None and tracking.whole_clip,
        config.detection.tracker_model,
        bound,
    )


def verification_of(platform: Platform, config: ProjectConfig, *, has_new_videos: bool) -> VerificationBound | None:
    """Return upper bounds on the number and cost of further questions to a project's verifier, or None if it has none.

    `has_new_videos` is True if some videos have no frames yet. In that case, the boxes of the last build do not limit
    the number of questions.

    Raises:
        ConfigError: the verifier is not configured.
    """
    verifier = config.detection.verifier
    if verifier is None:
        return None
    spent = spent_on_answers(platform.database, config.name)
    endpoint = platform.config.models.endpoints.get(verifier.model)
    if endpoint is None:
        platform.models.verifier(verifier.model)  # refuses an unknown name
    fingerprint = None if endpoint is None else endpoint_fingerprint(endpoint)
    by_it = spent_on_answers(platform.database, config.name, fingerprint)
    paid = PaidAnswers(spent.num_answers, spent.cost, by_it.top_price if by_it.num_priced else None)
    num_known = None if has_new_videos else _num_open_boxes(platform, config.name, verifier, fingerprint)
    return bound_of(verifier, endpoint, paid, num_known)


def _num_open_boxes(platform: Platform, project: str, verifier: VerifierConfig, fingerprint: str | None) -> int | None:
    """Return the maximum number of boxes from the last build that the verifier may be asked about.

    If the verifier is asked in the same way as in the last build, boxes with an answer are excluded. Otherwise, all
    boxes that need verification are counted. Return None if the table is missing or damaged.
    """
    try:
        counts = read_verification(platform.layout.detected_frames_table(project))
        if counts is not None and fingerprint and counts.asking == asking_fingerprint(verifier, fingerprint):
            return counts.waiting + counts.over_budget
        table = read_table(platform.layout.detections_table(project), ["confidence"])
    except (FileNotFoundError, DamagedFileError):  # the next build creates the table
        return None
    return sum(is_asked(confidence, verifier) for confidence in table["confidence"].to_pylist())


@contextmanager
def _with_catalog(platform: Platform) -> Iterator[Platform]:
    """Yield the platform. If its root has no catalog yet, yield a platform on a temporary root instead."""
    if platform.has_catalog:
        yield platform
        return
    with tempfile.TemporaryDirectory(prefix="data-miner-plan-") as folder:
        other = Platform(platform.config, Path(folder))
        try:
            yield other
        finally:
            other.database.dispose()


def _listed(candidate: VideoCandidate, row: VideoRow | None) -> ListedVideo:
    duration = candidate.duration_seconds
    if duration is None and row is not None:
        duration = row.duration_seconds
    size = row.size_bytes if row is not None else None
    if size is None and candidate.origin is Origin.LOCAL:
        size = _size_of(Path(candidate.url))
    return ListedVideo(
        site=site_of(candidate.video_key, candidate.url) if candidate.origin.is_of_site else None,
        duration_seconds=duration,
        size_bytes=size,
        has_file=row is not None and row.status in _STORED,
        has_frames=row is not None and row.status is VideoStatus.EXTRACTED,
    )


def _is_given_up(row: VideoRow | None) -> bool:
    """Return whether a video has failed and will not be retried automatically."""
    if row is None or row.status not in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE):
        return False
    return due_at(row.error_kind, row.internal_error_version, row.retry_after) is None


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else sum(entry.stat().st_size for entry in os.scandir(path))
    except OSError:
        return None


def _limits_of(site: str, platform: Platform) -> SiteLimits:
    downloading = platform.config.downloading
    politeness = downloading.politeness
    if politeness.spare_private_hosts and site in downloading.allowed_private_hosts:
        return SiteLimits()
    between = (politeness.min_sleep_seconds + politeness.max_sleep_seconds) / 2
    return SiteLimits(politeness.hourly_budget, politeness.daily_budget, between)


def rates_of(platform: Platform, project: str) -> Rates:
    """Return the rates for a forecast: each as measured in the project, or else in the whole root, or else a default.

    The default number of frames per second follows from the extraction settings.
    """
    of_project = _rates_seen(seen(platform.database, project), f"project {project}")
    of_root = _rates_seen(seen(platform.database), "this root")
    found = {name: of_project[name] or of_root[name] or getattr(DEFAULT_RATES, name) for name in of_root}
    if found["frames_per_second"].origin == DEFAULT:
        found["frames_per_second"] = _sampling_rate(platform.config.extraction)
    return Rates(**found)


def _rates_seen(known: Seen, what: str) -> dict[str, Rate | None]:
    """Return the rates computed from sums of measurements, by name. A rate is None if it was not measured or is 0."""

    def rate(amount: float, number: float, sample: str) -> Rate | None:
        return Rate(amount / number, f"{what}: {sample}") if number and amount else None

    frames, images = known.released_from_frames, known.num_images
    return {
        "seconds_per_video": rate(known.seconds, known.num_videos, counted(known.num_videos, "video")),
        "bytes_per_second": rate(known.file_bytes, known.file_seconds, counted(known.num_files, "file")),
        "requests_per_video": rate(known.num_requests, known.num_downloads, counted(known.num_downloads, "download")),
        "frames_per_second": rate(
            known.num_frames, known.frame_seconds, counted(known.num_extracted, "extracted video")
        ),
        "bytes_per_frame": rate(known.frames_bytes, known.measured_frames, counted(known.measured_frames, "frame")),
        "images_per_frame": rate(
            images, frames, f"{counted(images, 'image')} released from {counted(frames, 'frame')}"
        ),
        "boxes_per_image": rate(known.num_boxes, images, counted(images, "released image")),
    }


def _sampling_rate(extraction: ExtractionConfig) -> Rate:
    """Return the number of frames per second of video that the extraction settings are expected to yield.

    For the strategy `interval`, videos are assumed to have 30 frames per second. Strategies whose number of frames
    depends on the content use the default rate.
    """
    if extraction.strategy == "time":
        return Rate(1 / extraction.every_seconds, "platform.extraction.every_seconds")
    if extraction.strategy == "interval":
        return Rate(
            _USUAL_FRAME_RATE / extraction.every_frames, "platform.extraction.every_frames, at 30 frames per second"
        )
    return DEFAULT_RATES.frames_per_second
