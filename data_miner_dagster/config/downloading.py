"""How videos are fetched. Platform-wide: a video is downloaded once for all projects."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class DownloadingConfig(ConfigModel):
    """The `platform.downloading` section."""

    max_height: int = Field(default=720, ge=64, le=4320)
    """The largest frame height to ask for, in pixels."""
    max_size_bytes: int = Field(default=4_000_000_000, gt=0)
    """A larger file is refused."""
    max_duration_seconds: float = Field(default=6 * 3600, gt=0)
    """A longer video is refused."""
    allowed_private_hosts: tuple[str, ...] = ()
    """Hosts that may resolve to private or loopback addresses, such as "127.0.0.1"."""
    concurrent_downloads: int = Field(default=4, ge=1, le=32)
    """Videos fetched at once within one run."""
