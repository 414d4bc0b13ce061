"""What is asked of sites and what comes back, as records. Knows no yt-dlp: the process that asks imports none."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from data_miner_dagster.domain.records import VideoCandidate


@dataclass(frozen=True, slots=True)
class FetchedVideo:
    """A file in the folder it was fetched into, not yet proven, and what its site says of it."""

    path: Path
    extractor: str
    format_id: str | None
    candidate: VideoCandidate
    is_direct: bool = False  # its address names the file itself; False: a page or an extractor handed it out
    is_complete: bool = False  # its server said how many bytes it has, and this many came


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail, or a storyboard of several pictures in rows and columns."""

    url: str
    rows: int = 1
    columns: int = 1


@dataclass(frozen=True, slots=True)
class ListingLimits:
    """Where a listing may stop. It is read page by page, so that stopping early spares requests."""

    max_results: int | None = None
    known_keys: frozenset[str] = frozenset()  # stop after so many of these in a row
    published_after: date | None = None  # stop at the first that is older, of a listing with the newest first

    def is_too_old(self, candidate: VideoCandidate) -> bool:
        """Return whether a candidate is older than what is wanted; one without a date is not."""
        return (
            self.published_after is not None
            and candidate.upload_date is not None
            and candidate.upload_date < self.published_after
        )


# How they cross to a process apart and back.
CANDIDATES: Final = TypeAdapter(list[VideoCandidate])
FETCHED: Final = TypeAdapter(FetchedVideo)
PICTURES: Final = TypeAdapter(list[Picture])
LIMITS: Final = TypeAdapter(ListingLimits)
