"""The setting that determines when a run counts as hanging."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class RunsConfig(ConfigModel):
    """The `platform.runs` section."""

    max_idle_seconds: float = Field(default=3600, gt=0)
    """A run that finishes no item, part or batch for this long is ended as hanging. A run that makes progress may take
    any amount of time. The effective limit is at least 1.5 times the longest time allowed for one item
    (`platform.downloading.max_wall_seconds`, `platform.extraction.limits.max_seconds`, or an hour of waiting for
    another run's work)."""
