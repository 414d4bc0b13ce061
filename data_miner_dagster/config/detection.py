"""Which classes to label."""

from collections.abc import Mapping

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class DetectionConfig(ConfigModel):
    """The `detection` section of a project."""

    classes: Mapping[str, tuple[str, ...]] = Field(min_length=1)
    """Class name to the phrases that stand for it; an empty list means the name itself. Their order is the class id."""
    confidence_floor: float = Field(default=0.05, ge=0, le=1)
    """Boxes below are not stored at all."""
    batch_size: int = Field(default=8, ge=1)
    """Images per forward pass."""
