"""Records for requests to sites and for their results.

This module does not import yt-dlp, so that callers do not have to import it either.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from data_miner_dagster.domain.records import VideoCandidate


@dataclass(frozen=True, slots=True)
class FetchedVideo:
    """A fetched file that is not yet verified, with the site's metadata."""

    path: Path
    extractor: str
    format_id: str | None
    candidate: VideoCandidate
    is_direct: bool = False  # whether the address names the file itself rather than a page
    is_complete: bool = False  # whether the server stated the size and that many bytes arrived


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail, or a storyboard of several pictures in rows and columns."""

    url: str
    rows: int = 1
    columns: int = 1


@dataclass(frozen=True, slots=True)
class ListingLimits:
    """Conditions for ending a listing early. Listings are read page by page, so this saves requests.

    A condition that is None or empty does not apply.
    """

    max_results: int | None = None
    known_keys: frozenset[str] = frozenset()  # stop after several consecutive videos with these keys
    published_after: date | None = None  # stop at the first older video; for listings that start with the newest

    def is_too_old(self, candidate: VideoCandidate) -> bool:
        """Return whether a candidate is known to have been published before `published_after`."""
        return (
            self.published_after is not None
            and candidate.upload_date is not None
            and candidate.upload_date < self.published_after
        )


# Adapters that convert these records to and from JSON, to pass them between processes.
CANDIDATES: Final = TypeAdapter(list[VideoCandidate])
FETCHED: Final = TypeAdapter(FetchedVideo)
PICTURES: Final = TypeAdapter(list[Picture])
LIMITS: Final = TypeAdapter(ListingLimits)
