"""Settings for the frames to take from a video. They are platform-wide because all projects share the frames."""

from typing import Any, Literal

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class FrameQualityConfig(ConfigModel):
    """The `platform.extraction.quality` section: the conditions for marking a frame. Marked frames are still stored.

    All values refer to luma (0..255, full range) scaled down to at most 360 lines, so they do not depend on resolution.
    A frame gets only the first mark that applies, in the order black, flat, blurred, slide, text.
    """

    black_brightness: float = Field(default=12.0, ge=0, le=255)
    """Mark a frame as `black` if its mean luma is below this, and its contrast is at most `black_contrast`."""
    black_contrast: float = Field(default=12.0, ge=0, le=128)
    """The highest contrast of a `black` frame (see `black_brightness`). A lamp at night has more contrast."""
    flat_contrast: float = Field(default=4.0, ge=0, le=128)
    """Mark a frame as `flat` if the standard deviation of its luma is below this."""
    blurred_sharpness: float = Field(default=15.0, ge=0)
    """Mark a frame as `blurred` if the variance of its Laplacian is below this. 0 disables the check."""
    slide_plain_share: float | None = Field(default=None, gt=0, le=1)
    """Mark a frame as `slide` if more than this share of it has no texture, and at least 2 % of it is lines of text.
    Try 0.6. null: off."""
    text_share: float | None = Field(default=None, gt=0, le=1)
    """Mark a frame as `text` if more than this share of it is lines of text, which are recognized by their shape. Try
    0.06. null: off."""

    @property
    def looks_for_text(self) -> bool:
        """True if `slide` or `text` is enabled. Otherwise, lines of text are not measured."""
        return self.slide_plain_share is not None or self.text_share is not None


class ExtractionLimitsConfig(ConfigModel):
    """The `platform.extraction.limits` section. A video that exceeds a limit is abandoned, and the reason is stored."""

    max_seconds: float = Field(default=3600.0, gt=0)
    """The most wall-clock time for one video."""
    max_pixels: int = Field(default=8192 * 4320, ge=1)
    """The most pixels per picture, that is, its width times its height. In a folder of pictures, larger pictures
    are left out, and the others are used."""
    max_source_frames: int = Field(default=5_000_000, ge=1)
    """The most frames in the file, counted from its content."""
    max_sampled_frames: int = Field(default=100_000, ge=1)
    """The most frames to store."""
    max_memory_bytes: int = Field(default=4 << 30, ge=64 << 20)
    """The most memory for the process that decodes a video."""


class ExtractionConfig(ConfigModel):
    """The `platform.extraction` section. All settings except `limits` and `workers` affect the stored frames."""

    strategy: Literal["time", "interval", "keyframe", "scene", "uniform"] = "time"
    """Which frames to take. `time`: one every `every_seconds` seconds. `interval`: every `every_frames`-th frame.
    `keyframe`: the keyframes, or the first frame if no keyframe is shown. `scene`: one per shot. `uniform`:
    `num_frames` per video."""
    every_seconds: float = Field(default=1.0, gt=0)
    """For `time`: the interval between targets, starting at the first frame. The frame on screen at each target is
    taken."""
    every_frames: int = Field(default=30, ge=1)
    """For `interval`: the interval between targets, in frames."""
    num_frames: int = Field(default=100, ge=1)
    """For `uniform`: the number of frames, each from the middle of an equal part of the video."""
    scene_threshold: float = Field(default=8.0, gt=0, le=255)
    """For `scene`: the minimum mean change (0..255) between neighbouring frames at a cut. A cut must also stand out
    from the changes around it."""
    min_scene_seconds: float = Field(default=0.5, ge=0)
    """For `scene`: a shorter shot is merged with the next one."""
    snap_tolerance_seconds: float = Field(default=0.0, ge=0)
    """For `time` and `uniform`: take a keyframe, or else a reference frame, if one is within this distance of a target.
    This is much faster."""
    max_gap_seconds: float | None = Field(default=10.0, gt=0)
    """For `keyframe` and `scene`: add frames wherever the gap between chosen frames is longer than this. null: never.
    """
    max_frames_per_video: int | None = Field(default=None, ge=1)
    """The most frames per video, spread over the whole video."""
    image_format: Literal["jpg", "png", "webp"] = "jpg"
    """The format of stored frames. `jpg` is several times faster than the others; `png` is lossless."""
    jpeg_quality: int = Field(default=92, ge=1, le=100)
    """The quality of stored JPEG or WebP images. Their chroma is stored at half resolution."""
    quality: FrameQualityConfig = FrameQualityConfig()
    """The conditions for marking a frame as black, flat, blurred, a slide or text."""
    limits: ExtractionLimitsConfig = ExtractionLimitsConfig()
    """Limits for one video."""
    workers: int | None = Field(default=None, ge=1, le=256)
    """The number of videos that one run decodes concurrently, each in its own process. null: one per core."""

    def sampling_settings(self) -> dict[str, Any]:
        """Return the settings that affect the stored frames (all except `limits` and `workers`) as JSON values."""
        return self.model_dump(mode="json", exclude={"limits", "workers"})
