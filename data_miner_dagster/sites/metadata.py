"""What yt-dlp says of a video, as records: the one place where its dictionaries are read."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from data_miner_dagster.domain.records import VideoCandidate

_MAX_TEXT = 5000


def as_date(value: object) -> date | None:
    """Return the day of `YYYYMMDD`, None for anything else."""
    try:
        return datetime.strptime(str(value), "%Y%m%d").replace(tzinfo=UTC).date() if value else None
    except ValueError:
        return None


def as_text(value: object) -> str | None:
    """Return a text in one line, None if there is none."""
    return " ".join(str(value).split())[:_MAX_TEXT] if value not in (None, "") else None


def as_number(value: object) -> float | None:
    """Return a number, None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_whole(value: object) -> int | None:
    """Return a whole number, None for anything else."""
    number = as_number(value)
    return int(number) if number is not None else None


def upload_date_of(info: Mapping[str, Any]) -> date | None:
    """Return the upload date, by the site or by its time stamp."""
    day = as_date(info.get("upload_date"))
    stamp = as_number(info.get("timestamp"))
    if day is None and stamp is not None and 0 <= stamp < 2**33:
        day = datetime.fromtimestamp(stamp, UTC).date()
    return day


def is_live(info: Mapping[str, Any]) -> bool | None:
    """Return whether a video is live or announced, None if the site does not say."""
    status = info.get("live_status")
    if status:
        return status in ("is_live", "is_upcoming")
    return bool(info["is_live"]) if info.get("is_live") is not None else None


def height_of(info: Mapping[str, Any]) -> int | None:
    """Return the greatest height a video is offered at."""
    heights = [as_whole(form.get("height")) for form in info.get("formats") or ()]
    known = [height for height in (*heights, as_whole(info.get("height"))) if height]
    return max(known, default=None)


def thumbnails_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses of a video's pictures, best first."""
    listed = [str(item["url"]) for item in info.get("thumbnails") or () if item.get("url")]
    best = [str(info["thumbnail"])] if info.get("thumbnail") else []
    return tuple(dict.fromkeys((*best, *reversed(listed))))


def candidate_of(
    info: Mapping[str, Any],
    *,
    video_key: str,
    url: str,
    source: str,
    query: str,
    rank: int,
    found_at: datetime,
) -> VideoCandidate:
    """Return a candidate with all that an entry of a listing, or a whole extraction, says of it."""
    return VideoCandidate(
        video_key=video_key,
        url=url,
        source=source,
        query=query,
        rank=rank,
        found_at=found_at,
        title=as_text(info.get("title")),
        channel=as_text(info.get("channel") or info.get("uploader")),
        channel_id=as_text(info.get("channel_id") or info.get("uploader_id")),
        licence=as_text(info.get("license")),
        upload_date=upload_date_of(info),
        duration_seconds=as_number(info.get("duration")),
        view_count=as_whole(info.get("view_count")),
        language=as_text(info.get("language")),
        is_live=is_live(info),
        width=as_whole(info.get("width")),
        height=height_of(info),
        tags=tuple(str(tag) for tag in info.get("tags") or ()),
        description=as_text(info.get("description")),
        thumbnail_url=next(iter(thumbnails_of(info)), None),
    )
