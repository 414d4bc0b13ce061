"""The installed version of yt-dlp, determined without importing yt-dlp.

The import takes a third of a second, so only separate processes import yt-dlp.
"""

from functools import cache
from importlib.metadata import version


@cache
def yt_dlp_version() -> str:
    """Return the version in yt-dlp's own form: a date with two-digit month and day."""
    return ".".join(part.zfill(2) for part in version("yt-dlp").split("."))
