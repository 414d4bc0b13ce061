"""Forecast the cost and results of a project from its listed sources. Pure arithmetic on given rates.

Does not belong here: listing videos (operations/sourcing/dry_listing.py), or sums over a root's videos
(catalog/seen.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

DEFAULT: Final = "default"
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate and its origin: `DEFAULT`, or a description of the data it was measured on."""

    value: float
    origin: str = DEFAULT


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates from which the cost and results of videos are computed."""

    seconds_per_video: Rate  # for videos without a listed duration or size
    bytes_per_second: Rate  # size of a video file per second of video
    requests_per_video: Rate
    frames_per_second: Rate  # frames stored by extraction per second of video
    bytes_per_frame: Rate  # size of a stored frame
    images_per_frame: Rate  # released images, as a fraction of the stored frames
    boxes_per_image: Rate


DEFAULT_RATES: Final = Rates(
    seconds_per_video=Rate(300.0),
    bytes_per_second=Rate(150_000.0),  # 720 lines in h264
    requests_per_video=Rate(6.0),  # page, player, manifest, file in a few ranges
    frames_per_second=Rate(1.0),  # corresponds to `platform.extraction.every_seconds`
    bytes_per_frame=Rate(120_000.0),  # a JPEG of 1280 by 720 at quality 92
    images_per_frame=Rate(0.1),
    boxes_per_image=Rate(1.5),
)
"""Rates for a root without history, accurate only to an order of magnitude. The last two depend on the subject and the
filter."""


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """A listed video that the project would add."""

    site: str | None  # the site that its requests are sent to, or None if no site is contacted
    duration_seconds: float | None = None
    size_bytes: int | None = None
    has_file: bool = False  # its file is already under the root
    has_frames: bool = False  # its frames are already under the root


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """The limits on downloads from one site, from `platform.downloading.politeness`. None means no limit."""

    hourly_budget: int | None = None  # downloads in any 60 minutes
    daily_budget: int | None = None  # downloads in any 24 hours
    seconds_between: float = 0.0  # seconds between the starts of two downloads, on average

    def days(self, num_downloads: int) -> float:
        """Return the minimum number of days that `num_downloads` downloads take."""
        hours = num_downloads / self.hourly_budget if self.hourly_budget else 0.0
        days = num_downloads / self.daily_budget if self.daily_budget else 0.0
        return max(days, hours / 24, num_downloads * self.seconds_between / _DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected cost and results of a project."""

    num_videos: int
    num_to_download: int  # videos whose file is not under the root yet, including those to copy
    hours: float  # total duration of the videos
    num_unknown_durations: int  # videos whose duration is not listed
    num_requests: int
    days: float  # minimum time that the downloads take under the limits of the sites
    slowest_site: str | None  # the site that determines `days`, or None if no site to download from has limits
    videos_bytes: int  # size of the files to download or copy
    frames_bytes: int  # size of the frames to store
    num_frames: int  # frames of all videos, including those that are stored already
    num_images: int
    num_boxes: int
    downloads_by_site: Mapping[str, int]
    rates: Rates

    def as_json(self) -> dict[str, Any]:
        """Return the forecast as JSON-compatible values."""
        return asdict(self)


def forecast_of(videos: Sequence[ListedVideo], rates: Rates, limits: Mapping[str, SiteLimits]) -> Forecast:
    """Return the expected cost and results of these videos.

    Args:
        videos: the videos that would be added.
        rates: the rates to use.
        limits: the limits by site. A site that is not included has no limits.
    """
    seconds = [seconds_of(video, rates) for video in videos]
    fresh = [video for video in videos if not video.has_file]
    by_site = Counter(video.site for video in fresh if video.site is not None)
    known = {site: limits[site].days(number) for site, number in sorted(by_site.items()) if site in limits}
    days = {site: number for site, number in known.items() if number > 0}  # a site may be exempt from all limits
    slowest = max(days, key=lambda site: days[site], default=None)
    num_frames = sum(seconds) * rates.frames_per_second.value
    new_frames = (
        sum(length for video, length in zip(videos, seconds, strict=True) if not video.has_frames)
        * rates.frames_per_second.value
    )
    num_images = num_frames * rates.images_per_frame.value
    return Forecast(
        num_videos=len(videos),
        num_to_download=len(fresh),
        hours=sum(seconds) / 3600,
        num_unknown_durations=sum(video.duration_seconds is None for video in videos),
        num_requests=round(sum(by_site.values()) * rates.requests_per_video.value),
        days=days[slowest] if slowest is not None else 0.0,
        slowest_site=slowest,
        videos_bytes=round(
            sum(
                video.size_bytes if video.size_bytes is not None else length * rates.bytes_per_second.value
                for video, length in zip(videos, seconds, strict=True)
                if not video.has_file
            )
        ),
        frames_bytes=round(new_frames * rates.bytes_per_frame.value),
        num_frames=round(num_frames),
        num_images=round(num_images),
        num_boxes=round(num_images * rates.boxes_per_image.value),
        downloads_by_site=dict(sorted(by_site.items())),
        rates=rates,
    )


def seconds_of(video: ListedVideo, rates: Rates) -> float:
    """Return a video's listed duration in seconds, or an estimate from its size, or else the average duration."""
    if video.duration_seconds is not None:
        return video.duration_seconds
    if video.size_bytes is not None:
        return video.size_bytes / rates.bytes_per_second.value
    return rates.seconds_per_video.value


def origins_of(rates: Rates) -> dict[str, list[str]]:
    """Return the names of the rates, grouped by origin."""
    names: dict[str, list[str]] = {}
    for field in fields(rates):
        names.setdefault(getattr(rates, field.name).origin, []).append(field.name)
    return names
