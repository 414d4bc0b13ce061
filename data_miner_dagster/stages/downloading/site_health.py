"""Decisions about a site as a whole: when failures of its videos are one refusal of the site, and what is said of it.

Pure functions. A site that changes its player, wants a token or has had enough answers every video with the same few
failures, and none of them says anything about the video: charging each one alone would park all of them for a month.
"""

import re
from datetime import date, timedelta
from typing import Final

from data_miner_dagster.domain.reasons import VideoErrorKind

VIDEOS_OF_AN_EVENT: Final = 3
"""So many videos refused in a row are one refusal of their site."""
STREAK_LASTS: Final = timedelta(hours=24)
"""Refusals further apart than this have nothing to do with each other."""
OLD_AFTER_DAYS: Final = 30
"""A yt-dlp older than this is the likely cause of what a site refuses."""
_NAME_OF_VIDEO: Final = re.compile(r"^\[[^\[\]\s]{1,50}\] [^\s:]{1,200}: ")
"""With which yt-dlp begins what an extractor says: `[youtube] ID: `."""
SUSPECT_KINDS: Final = frozenset(
    {
        VideoErrorKind.FORBIDDEN,
        VideoErrorKind.NO_FORMATS,
        VideoErrorKind.CUT_OFF,
        VideoErrorKind.TRUNCATED,
        VideoErrorKind.EMPTY_FILE,
    }
)
"""Failures that a site gives for one video and for all of them alike."""
_KINDS_OF_FILES: Final = frozenset({VideoErrorKind.TRUNCATED, VideoErrorKind.EMPTY_FILE})


def is_of_file_alone(kind: VideoErrorKind, *, is_direct: bool, is_complete: bool) -> bool:
    """Return whether a failure is the file's own fault, and says nothing against its site.

    A server that names a file's size and sends as many bytes has served it, and damage in it was there before. Of a
    site whose pages hand out addresses of media this proves nothing: one that wants a token sends less than the video,
    and calls that the whole.

    Args:
        kind: what is wrong with the video.
        is_direct: its address named the file itself; no page or extractor handed it out.
        is_complete: the server said how many bytes the file has, and this many came.
    """
    return kind in _KINDS_OF_FILES and is_direct and is_complete


def age_days(version: str, today: date) -> int | None:
    """Return the age of a yt-dlp version in days: a version is its date. None if it is no date.

    >>> age_days("2025.10.22", date(2025, 11, 1))
    10
    """
    parts = version.split(".")
    if len(parts) < 3 or not all(part.isascii() and part.isdigit() for part in parts[:3]):
        return None
    try:
        made = date(*(int(part) for part in parts[:3]))
    except (ValueError, OverflowError):
        return None
    return max(0, (today - made).days)


def age_text(version: str, today: date) -> str:
    """Return "yt-dlp 2025.10.22, 10 days old"."""
    days = age_days(version, today)
    return f"yt-dlp {version}" + ("" if days is None else f", {days} day{'' if days == 1 else 's'} old")


def age_warning(version: str, today: date) -> str | None:
    """Return what to tell the user of a yt-dlp that is too old, None if it is not."""
    days = age_days(version, today)
    if days is None or days <= OLD_AFTER_DAYS:
        return None
    return (
        f"{age_text(version, today)}: sites change faster than that; `pip install -U yt-dlp` updates it alone, "
        "nothing else needs a new version"
    )


def refusal_reason(site: str, kind: VideoErrorKind, last_message: str, version: str, today: date) -> str:
    """Return the reason of an event in one line: it stands at many videos, and names none of them."""
    last_message = _NAME_OF_VIDEO.sub("", last_message)
    days = age_days(version, today)
    remedy = "; update it: pip install -U yt-dlp" if days is not None and days > OLD_AFTER_DAYS else ""
    return f"{site} refuses everything ({kind.value}), last: {last_message} ({age_text(version, today)}{remedy})"
