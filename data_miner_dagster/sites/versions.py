"""Find the installed yt-dlp version without importing yt-dlp.

Importing it takes a third of a second and is left to separate processes.
"""

from functools import cache
from importlib.metadata import version


@cache
def yt_dlp_version() -> str:
    """Return the version as yt-dlp writes it: a date with two-digit month and day."""
    return ".".join(part.zfill(2) for part in version("yt-dlp").split("."))
