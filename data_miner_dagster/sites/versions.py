"""Determine the installed version of yt-dlp without importing it.

Importing yt-dlp takes a third of a second, so only separate processes import it.
"""

from functools import cache
from importlib.metadata import version


@cache
def yt_dlp_version() -> str:
    """Return the version in yt-dlp's own form, a date with a two-digit month and day."""
    return ".".join(part.zfill(2) for part in version("yt-dlp").split("."))
