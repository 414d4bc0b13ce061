"""Which frames are taken from a video. Platform-wide: frames are shared by all projects."""

from typing import Any, Literal

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class FrameQualityConfig(ConfigModel):
    """The `platform.extraction.quality` section: when a frame is marked. Marked frames are still stored.

    All values refer to luma (0..255, full range) scaled down to at most 360 lines, so they do not depend on resolution.
    """

    black_brightness: float = Field(default=12.0, ge=0, le=255)
    """`black`: mean luma below this, and no more contrast than `black_contrast`."""
    black_contrast: float = Field(default=12.0, ge=0, le=128)
    """`black`: see `black_brightness`. A lamp at night has more contrast."""
    flat_contrast: float = Field(default=4.0, ge=0, le=128)
    """`flat`: standard deviation of luma below this."""
    blurred_sharpness: float = Field(default=15.0, ge=0)
    """`blurred`: variance of the Laplacian below this. 0 disables it."""
    slide_plain_share: float | None = Field(default=None, gt=0, le=1)
    """`slide`: more of the picture than this has no texture, and 2 % is lines of text. Try .6. None: off."""
    text_share: float | None = Field(default=None, gt=0, le=1)
    """`text`: more of the picture than this is lines of text, recognised by shape. Try .06. None: off."""

    @property
    def looks_for_text(self) -> bool:
        """Return whether any mark needs text to be measured. Text is measured only then."""
        return self.slide_plain_share is not None or self.text_share is not None


class ExtractionLimitsConfig(ConfigModel):
    """The `platform.extraction.limits` section. A video that exceeds a limit is abandoned with a reason."""

    max_seconds: float = Field(default=3600.0, gt=0)
    """Wall time for one video."""
    max_pixels: int = Field(default=8192 * 4320, ge=1)
    """Width times height of one picture."""
    max_source_frames: int = Field(default=5_000_000, ge=1)
    """Frames in the file, counted from its content."""
    max_sampled_frames: int = Field(default=100_000, ge=1)
    """Frames to be stored."""
    max_memory_bytes: int = Field(default=4 << 30, ge=64 << 20)
    """Memory of the process that decodes a video."""


class ExtractionConfig(ConfigModel):
    """The `platform.extraction` section. `sampling_settings` lists those that decide what is stored."""

    strategy: Literal["time", "interval", "keyframe", "scene", "uniform"] = "time"
    """`time`: every N seconds; `interval`: every N frames; `keyframe`; `scene`: one per shot; `uniform`: N per video.
    """
    every_seconds: float = Field(default=1.0, gt=0)
    """For `time`: the interval between targets, from the first frame on. Takes the frame on screen at each target."""
    every_frames: int = Field(default=30, ge=1)
    """For `interval`: the interval between targets, in frames."""
    num_frames: int = Field(default=100, ge=1)
    """For `uniform`: the number of frames, each from the middle of an equal part of the video."""
    scene_threshold: float = Field(default=8.0, gt=0, le=255)
    """For `scene`: the least mean change (0..255) between neighbouring frames that counts as a cut."""
    min_scene_seconds: float = Field(default=0.5, ge=0)
    """For `scene`: shorter shots are part of the previous shot."""
    snap_tolerance_seconds: float = Field(default=0.0, ge=0)
    """Take a keyframe (or else a reference frame) within this distance of a target, which is much cheaper."""
    max_gap_seconds: float | None = Field(default=10.0, gt=0)
    """For `keyframe` and `scene`: add frames where none was chosen for longer than this. None: never."""
    max_frames_per_video: int | None = Field(default=None, ge=1)
    """The most frames per video, spread over the whole video."""
    image_format: Literal["jpg", "png", "webp"] = "jpg"
    """`jpg` is several times faster than the others; `png` is lossless."""
    jpeg_quality: int = Field(default=92, ge=1, le=100)
    """Quality of the stored JPEG or WebP images. Chroma is stored at half resolution."""
    quality: FrameQualityConfig = FrameQualityConfig()
    """When a frame is marked as black, flat, blurred, a slide or text."""
    limits: ExtractionLimitsConfig = ExtractionLimitsConfig()
    """Limits for one video."""
    workers: int | None = Field(default=None, ge=1, le=256)
    """Videos decoded concurrently within one run, each in its own process. None: one per core."""

    def sampling_settings(self) -> dict[str, Any]:
        """Return, as JSON values, the settings that decide what is stored; limits and workers do not."""
        return self.model_dump(mode="json", exclude={"limits", "workers"})
