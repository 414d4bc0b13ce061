"""Decide when failures of single videos amount to a refusal by the whole site, and describe that refusal.

Pure functions. A site that changes its player, requires a token or limits requests makes every video fail in the same
few ways. Such failures say nothing about the videos: counting them per video would postpone all videos for a month.
"""

import re
from datetime import date, timedelta
from typing import Final

from data_miner_dagster.domain.reasons import VideoErrorKind

VIDEOS_OF_AN_EVENT: Final = 3
"""This many refused videos in a row count as a refusal by the whole site."""
STREAK_LASTS: Final = timedelta(hours=24)
"""Refusals further apart than this count as unrelated."""
OLD_AFTER_DAYS: Final = 30
"""A yt-dlp older than this is the likely cause of a site's refusals."""
_NAME_OF_VIDEO: Final = re.compile(r"^\[[^\[\]\s]{1,50}\] [^\s:]{1,200}: ")
"""The prefix that yt-dlp adds to an extractor's message: `[youtube] ID: `."""
SUSPECT_KINDS: Final = frozenset(
    {
        VideoErrorKind.FORBIDDEN,
        VideoErrorKind.NO_FORMATS,
        VideoErrorKind.CUT_OFF,
        VideoErrorKind.TRUNCATED,
        VideoErrorKind.EMPTY_FILE,
    }
)
"""Failures that may concern a single video or the whole site."""
_KINDS_OF_FILES: Final = frozenset({VideoErrorKind.TRUNCATED, VideoErrorKind.EMPTY_FILE})


def is_of_file_alone(kind: VideoErrorKind, *, is_direct: bool, is_complete: bool) -> bool:
    """Return whether a failure is caused by the file itself and says nothing about its site.

    A server that states a file's size and sends that many bytes has served it completely, so the file was already
    damaged. This proves nothing for a site whose pages link to media files. If such a site requires a token, it sends
    part of the video and reports that part's size as the whole.

    Args:
        kind: the error kind of the video.
        is_direct: True if the address named the file itself rather than a page or the input of an extractor.
        is_complete: True if the server stated the file's size and sent exactly that many bytes.
    """
    return kind in _KINDS_OF_FILES and is_direct and is_complete


def age_days(version: str, today: date) -> int | None:
    """Return the age in days of a yt-dlp version, which is a release date, or None if `version` is not a date.

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
    """Return a yt-dlp version with its age, if it is known, such as "yt-dlp 2025.10.22, 10 days old"."""
    days = age_days(version, today)
    return f"yt-dlp {version}" + ("" if days is None else f", {days} day{'' if days == 1 else 's'} old")


def age_warning(version: str, today: date) -> str | None:
    """Return the warning for a yt-dlp that is too old, or None if it is recent enough or its age is unknown."""
    days = age_days(version, today)
    if days is None or days <= OLD_AFTER_DAYS:
        return None
    return (
        f"{age_text(version, today)}, is out of date; sites change often, so update it with `pip install -U yt-dlp`, "
        "which changes no other package"
    )


def refusal_reason(site: str, kind: VideoErrorKind, last_message: str, version: str, today: date) -> str:
    """Return one line that describes a site's refusal. It names no video, because it is stored with many videos.

    `last_message` is the message of the last error, and `version` is the version of yt-dlp.
    """
    last_message = _NAME_OF_VIDEO.sub("", last_message)
    days = age_days(version, today)
    remedy = "; update it with `pip install -U yt-dlp`" if days is not None and days > OLD_AFTER_DAYS else ""
    return (
        f"{site} refuses all requests ({kind.value}); last error: {last_message} ({age_text(version, today)}{remedy})"
    )
