"""Convert yt-dlp's metadata for a video to a `VideoCandidate` with cleaned and bounded fields."""

import logging
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from data_miner_dagster.domain.addresses import AddressError, ForeignAddress, Origin
from data_miner_dagster.domain.foreign_text import (
    MAX_PIXELS_A_SIDE,
    clean_number,
    clean_texts,
    clean_whole,
)
from data_miner_dagster.domain.foreign_text import clean_text as as_text
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.sites.keys import key_of_refused
from data_miner_dagster.sites.redaction import redact

logger = logging.getLogger(__name__)

_MAX_DURATION_SECONDS = 1e9  # over thirty years; longer values are not durations
_MAX_LISTED = 1000  # the maximum numbers of formats and of thumbnails that are read


def as_date(value: object) -> date | None:
    """Parse a date in the form `YYYYMMDD`. Return None for anything else."""
    try:
        return datetime.strptime(str(value), "%Y%m%d").replace(tzinfo=UTC).date() if value else None
    except ValueError:
        return None


def duration_of(info: Mapping[str, Any]) -> float | None:
    """Return the duration of a video in seconds, or None if its site states no plausible value."""
    seconds = clean_number(info.get("duration"))
    return seconds if seconds is not None and 0 <= seconds <= _MAX_DURATION_SECONDS else None


def address_in(value: object) -> ForeignAddress | None:
    """Parse a value from a page as an http or https address. Return None if it is not such an address."""
    try:
        return ForeignAddress.parse(value) if isinstance(value, str) else None
    except AddressError:
        return None


def upload_date_of(info: Mapping[str, Any]) -> date | None:
    """Return a video's upload date, or else the UTC date of its timestamp, or None if the site states neither."""
    day = as_date(info.get("upload_date"))
    stamp = clean_number(info.get("timestamp"))
    if day is None and stamp is not None and 0 <= stamp < 2**33:
        day = datetime.fromtimestamp(stamp, UTC).date()
    return day


def is_live(info: Mapping[str, Any]) -> bool | None:
    """Return whether a video is live or upcoming, or None if the site does not say."""
    status = info.get("live_status")
    if status:
        return status in ("is_live", "is_upcoming")
    return bool(info["is_live"]) if info.get("is_live") is not None else None


def height_of(info: Mapping[str, Any]) -> int | None:
    """Return the greatest height in pixels that is offered for a video, or None if it is unknown."""
    heights = [_side(form.get("height")) for form in _mappings(info.get("formats"))]
    known = [height for height in (*heights, _side(info.get("height"))) if height]
    return max(known, default=None)


def thumbnails_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the http and https addresses of a video's thumbnails, best first."""
    listed = [item.get("url") for item in _mappings(info.get("thumbnails"))]
    found = [address_in(value) for value in (info.get("thumbnail"), *reversed(listed))]
    return tuple(dict.fromkeys(address.text for address in found if address is not None))


def _mappings(value: object) -> list[Mapping[str, Any]]:
    listed = islice(value, _MAX_LISTED) if isinstance(value, Iterable) else ()
    return [item for item in listed if isinstance(item, Mapping)]


def _side(value: object) -> int | None:
    return clean_whole(value, MAX_PIXELS_A_SIDE)


@dataclass(frozen=True, slots=True)
class Provenance:
    """The source, query and time of the listing that found an entry, and the entry's `rank`, counting from 0."""

    source: str
    query: str
    found_at: datetime
    rank: int = 0


def candidate_of(
    info: Mapping[str, Any],
    *,
    video_key: str,
    url: str,
    provenance: Provenance,
    origin: Origin,
    refusal: str | None = None,
) -> VideoCandidate:
    """Return a candidate with the cleaned metadata of a listing entry or a full extraction.

    `refusal` is the reason why the entry's address is not acceptable, or None if it is.
    """
    return VideoCandidate(
        video_key=video_key,
        url=url,
        source=provenance.source,
        query=provenance.query,
        rank=provenance.rank,
        found_at=provenance.found_at,
        title=as_text(info.get("title")),
        channel=as_text(info.get("channel") or info.get("uploader"), 500),
        channel_id=as_text(info.get("channel_id") or info.get("uploader_id"), 250),
        licence=as_text(info.get("license"), 500),
        upload_date=upload_date_of(info),
        duration_seconds=duration_of(info),
        view_count=clean_whole(info.get("view_count")),
        language=as_text(info.get("language"), 100),
        is_live=is_live(info),
        width=_side(info.get("width")),
        height=height_of(info),
        tags=clean_texts(info.get("tags")),
        description=as_text(info.get("description")),
        thumbnail_url=next(iter(thumbnails_of(info)), None),
        origin=origin,
        refusal=refusal,
    )


def faulty_candidate(entry: object, error: Exception, provenance: Provenance) -> VideoCandidate:
    """Log that a listing entry could not be read because of `error`, and return a placeholder with the fault."""
    said = str(entry.get("url") or entry.get("id") or "") if isinstance(entry, Mapping) else ""
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {redact(as_text(str(error), 200) or '')}"
    line = f"{what} ({Path(place.filename).name}:{place.lineno})"
    source, query, rank, found_at = provenance.source, provenance.query, provenance.rank, provenance.found_at
    logger.error("%s: an entry of this listing could not be read and is not used: %s", query, line)
    key = key_of_refused(said or f"entry {rank} of {query}")
    return VideoCandidate(key, "", source, query, rank, found_at, origin=Origin.FOREIGN, fault=line)
