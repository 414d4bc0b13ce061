"""When a run counts as hanging."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class RunsConfig(ConfigModel):
    """The `platform.runs` section."""

    max_idle_seconds: float = Field(default=3600, gt=0)
    """A run in which no item, part or batch was done for this long is ended as hanging. A run that makes progress may
    last as long as it likes. At least half as much again as one item may take counts (`downloading.max_wall_seconds`,
    `extraction.limits.max_seconds`, an hour of waiting for another run's work)."""
