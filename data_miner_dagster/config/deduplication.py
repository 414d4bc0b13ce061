"""What counts as the same picture twice."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class DeduplicationConfig(ConfigModel):
    """The `deduplication` section of a project."""

    threshold: float | None = Field(default=None, ge=-1, le=1)
    """Cosine at or above which two frames are near-duplicates. Default: the encoder's own."""
