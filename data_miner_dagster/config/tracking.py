"""Whether, and how, objects are followed along their videos."""

from typing import Self

from pydantic import Field, model_validator

from data_miner_dagster.config.base import ConfigModel

MOST_STEPS_AROUND: int = 200
"""The most frames on either side of a stored frame."""


class TrackingConfig(ConfigModel):
    """The `detection.tracking` section: objects are followed over the seconds around each examined frame.

    Needs `pip install 'data-miner-dagster[tracks]'`. Costs about 2 * `window_seconds` / `every_seconds` more detector
    passes per frame, and their decoding.
    """

    window_seconds: float = Field(default=1.0, gt=0, le=30)
    """How far before and after a frame its neighbours are decoded and examined. An object that is out of sight for
    three times as long counts as another one when it comes back."""
    every_seconds: float = Field(default=0.25, ge=0.01, le=10)
    """Time between those neighbours. Fast objects need a shorter one: an object must overlap with itself."""
    whole_clip: bool = False
    """Follow objects over whole videos, not only around the frames, and write all tracks: `whole_clip_tracks.parquet`,
    and `data/tracks.parquet` of a release. Every video is then examined from start to end, every `every_seconds`."""
    start_confidence: float = Field(default=0.2, ge=0, le=1)
    """Boxes from this confidence start a track. Weaker ones continue one, or stay unchanged."""
    min_sightings: int = Field(default=3, ge=2, le=50)
    """A box belongs to an object that was seen on this many frames of its window, including its own; otherwise it
    flickers. Windows at the ends of a video have fewer frames: there, more than half of them is enough."""
    flicker_factor: float = Field(default=0.25, ge=0, le=1)
    """The confidence of a box that flickers is multiplied by this."""
    same_object_iou: float = Field(default=0.5, gt=0, le=1)
    """The minimum IoU of a box with the position that its neighbours in time predict. Other boxes are not part of a
    track."""
    recover: bool = True
    """Add boxes that no detector reported on a frame, for objects that were seen before and after it in its window."""
    keep_windows: bool = True
    """Keep the pictures of neighbours on disk, beside the frames. Otherwise they are removed once all detectors have
    examined them, and another detector or class list decodes the video again, or downloads it if it is gone."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.every_seconds > self.window_seconds:
            raise ValueError(
                f"every_seconds={self.every_seconds:g} is longer than window_seconds={self.window_seconds:g}: a frame "
                "would have no neighbours; look more often, or further"
            )
        if self.window_seconds / self.every_seconds > MOST_STEPS_AROUND:
            raise ValueError(
                f"window_seconds={self.window_seconds:g} holds more than {MOST_STEPS_AROUND} times "
                f"every_seconds={self.every_seconds:g} on either side of a frame; look less often"
            )
        return self
