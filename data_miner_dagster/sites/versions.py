"""Which yt-dlp is installed, without importing it: that takes a third of a second, and belongs to processes apart."""

from functools import cache
from importlib.metadata import version


@cache
def yt_dlp_version() -> str:
    """Return the version as yt-dlp writes it: a date, with both digits of a month and of a day."""
    return ".".join(part.zfill(2) for part in version("yt-dlp").split("."))
