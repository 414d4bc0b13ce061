"""List the licences of a release's videos by source, and determine which of them forbid redistributing the pictures.

A licence is quoted in the source's own words. This module interprets these words, but gives no legal advice: anything
unclear is left to the reader.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.export.records import ReleaseVideo

_YOUTUBE: Final = "youtube"
"""The site whose standard licence, which reserves all rights, applies to videos that state no licence."""


class Redistribution(StrEnum):
    """Whether pictures from a video may be redistributed. Users see the values."""

    FORBIDDEN = "no"
    NO_DERIVATIVES = "only unchanged: labels and crops need the author's consent"
    NOT_COMMERCIAL = "only for non-commercial purposes"
    ALLOWED = "yes, by its terms"
    UNKNOWN = "unknown: ask the author"

    @property
    def is_forbidden(self) -> bool:
        """True if a release that contains pictures under this licence must not be redistributed."""
        return self in (Redistribution.FORBIDDEN, Redistribution.NO_DERIVATIVES)


_READINGS: Final = (
    (re.compile(r"all rights reserved|standard youtube licen|no redistribution|not for redistribution"), "FORBIDDEN"),
    (re.compile(r"no[- ]?deriv|\bnd\b"), "NO_DERIVATIVES"),
    (re.compile(r"non[- ]?commercial|\bnc\b"), "NOT_COMMERCIAL"),
    (re.compile(r"public domain|\bcc[- ]?0\b|creative commons|\bcc[- ]by\b|reuse allowed"), "ALLOWED"),
)


@dataclass(frozen=True, slots=True)
class LicenceUse:
    """The videos of one source under one licence."""

    source: str  # a host, a bucket, or "local files"
    licence: str  # as stated, or "none stated"
    redistribution: Redistribution
    num_videos: int
    num_images: int


def licences_of(videos: Sequence[ReleaseVideo]) -> list[LicenceUse]:
    """Return the licences of each source's videos, starting with the one that covers the most images."""
    counts: dict[tuple[str, str, Redistribution], tuple[int, int]] = {}
    for video in videos:
        key = (source_of(video), video.licence or "none stated", redistribution_of(video))
        num_videos, num_images = counts.get(key, (0, 0))
        counts[key] = (num_videos + 1, num_images + video.num_images)
    uses = [LicenceUse(*key, *numbers) for key, numbers in counts.items()]
    return sorted(uses, key=lambda use: (-use.num_images, use.source, use.licence))


def forbidding(uses: Sequence[LicenceUse]) -> str | None:
    """Return a line that lists the licences that forbid redistribution, or None if no licence forbids it."""
    named = [use for use in uses if use.redistribution.is_forbidden]
    if not named:
        return None
    parts = [f"{use.source}, {use.licence} ({counted(use.num_images, 'image')})" for use in named]
    return f"Licences that forbid redistribution: {'; '.join(parts)}"


def source_of(video: ReleaseVideo) -> str:
    """Return the origin of a video: the host of its address without `www.`, its bucket's name, or "local files"."""
    host = urlsplit(video.url).hostname if "://" in video.url else None
    return (host or "").removeprefix("www.") or "local files"


def redistribution_of(video: ReleaseVideo) -> Redistribution:
    """Return whether pictures from a video may be redistributed under the licence that its source states.

    A YouTube video without a stated licence is under YouTube's standard licence.
    """
    stated = " ".join((video.licence or "").casefold().split())
    if not stated:
        is_standard = video.video_key.partition("-")[0] == _YOUTUBE
        return Redistribution.FORBIDDEN if is_standard else Redistribution.UNKNOWN
    return next((Redistribution[name] for pattern, name in _READINGS if pattern.search(stated)), Redistribution.UNKNOWN)
