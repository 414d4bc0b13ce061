"""What goes into a release."""

from collections.abc import Mapping

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class ReleasingConfig(ConfigModel):
    """The `releasing` section of a project."""

    confidence_threshold: float = Field(default=0.3, ge=0, le=1)
    """Boxes below are left out of the release."""
    class_thresholds: Mapping[str, float] = Field(default_factory=dict)
    """Overrides per class."""
    include_frames_without_boxes: bool = True
    """Keep frames in which no class was found, as negatives."""
    splits: Mapping[str, float] = Field(default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1})
    """Shares of the splits; by groups of videos that share duplicates."""
