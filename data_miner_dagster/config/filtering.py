"""What a useful frame looks like, in words."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class FilteringConfig(ConfigModel):
    """The `filtering` section of a project."""

    positive: tuple[str, ...] = Field(min_length=1)
    """A frame is kept if it resembles at least one of these."""
    negative: tuple[str, ...] = ()
    """A frame is dropped if it resembles one of these more than any positive, by `negative_margin`."""
    junk: tuple[str, ...] = ()
    """Slides, logos, end cards: dropped at `junk_threshold` whatever else they show."""
    positive_threshold: float | None = Field(default=None, ge=-1, le=1)
    """Default: the encoder's own calibrated threshold."""
    negative_margin: float = Field(default=0.0, ge=-2, le=2)
    """The positive must exceed the best negative by this much."""
    junk_threshold: float | None = Field(default=None, ge=-1, le=1)
    """Default: the positive threshold."""
    drop_quality_flags: tuple[str, ...] = ("black", "flat", "blurred")
    """Frames marked so at extraction are dropped."""
