"""How videos are fetched. Platform-wide: a video is downloaded once for all projects."""

from typing import Literal

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class DownloadingConfig(ConfigModel):
    """The `platform.downloading` section."""

    max_height: int = Field(default=720, ge=64, le=4320)
    """The largest frame height to ask for, in pixels; the smallest format that reaches it is taken, h264 first."""
    max_size_bytes: int = Field(default=4_000_000_000, gt=0)
    """A larger file is refused."""
    max_duration_seconds: float = Field(default=6 * 3600, gt=0)
    """A longer video is refused."""
    max_pixels: int = Field(default=8192 * 4352, gt=0)
    """A video with more pixels a frame is refused before a frame of it is decoded."""
    max_wall_seconds: float = Field(default=3600, gt=0)
    """A download that takes longer is given up, and continued at its next attempt."""
    allowed_private_hosts: tuple[str, ...] = ()
    """Hosts that may resolve to private or loopback addresses, such as "127.0.0.1"."""
    concurrent_downloads: int = Field(default=4, ge=1, le=32)
    """Videos fetched at once within one run."""
    socket_timeout_seconds: float = Field(default=20, gt=0, le=600)
    """A connection that is silent for so long has failed."""
    tries_per_run: int = Field(default=3, ge=1, le=10)
    """How often a passing failure (a dropped connection, HTTP 500) is tried within one run."""
    try_delay_seconds: float = Field(default=1.0, ge=0, le=600)
    """The pause before the second try within one run; doubled with each."""
    max_attempts: int = Field(default=8, ge=1)
    """Runs after which a video that keeps failing in a passing way is left alone until `data-miner retry`."""
    backoff_seconds: float = Field(default=300, ge=0)
    """The delay after the first failed run; doubled with each, up to `max_backoff_seconds`."""
    max_backoff_seconds: float = Field(default=24 * 3600, ge=0)
    """The longest such delay."""
    unavailable_retry_days: float | None = Field(default=30, gt=0)
    """A private, removed or blocked video is looked at again after so long. null: never by itself."""
    local_files: Literal["copy", "hardlink"] = "copy"
    """`copy` shares blocks where the file system can, and is safe from later edits. `hardlink` takes no space, but an
    edit in place of the original changes the platform's file too."""
