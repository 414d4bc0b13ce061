"""Which frames are taken from a video. Platform-wide: frames are shared by all projects."""

from typing import Literal

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class ExtractionConfig(ConfigModel):
    """The `platform.extraction` section. All but the limits decide which frames exist: see `sampling_fingerprint`."""

    strategy: Literal["time", "interval", "keyframe", "scene", "uniform"] = "time"
    """`time`: every N seconds; `interval`: every N frames; `keyframe`; `scene`: one per shot; `uniform`: N a video."""
    every_seconds: float = Field(default=1.0, gt=0)
    """For `time`: the distance of targets."""
    every_frames: int = Field(default=30, ge=1)
    """For `interval`: the distance of targets, in frames."""
    num_frames: int = Field(default=100, ge=1)
    """For `uniform`: how many."""
    snap_tolerance_seconds: float = Field(default=0.0, ge=0)
    """A target may be met by a keyframe this near to it: much cheaper."""
    max_frames_per_video: int | None = Field(default=None, ge=1)
    """Spread over the whole video, not cut off at its end."""
    jpeg_quality: int = Field(default=92, ge=1, le=100)
    """Quality of the stored JPEGs."""
