"""When a project's dataset is built again."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class RefreshConfig(ConfigModel):
    """The `refresh` section of a project. Failed and unavailable videos never hold a project."""

    wait_for_all: bool = True
    """Build when every video has settled. False: also while videos are still on their way."""
    min_new_videos: int = Field(default=50, ge=1)
    """Without `wait_for_all`: build when this many more videos are ready than at the last release."""
