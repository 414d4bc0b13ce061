"""Whether, and how, objects are followed along their videos."""

from typing import Self

from pydantic import Field, model_validator

from data_miner_dagster.config.base import ConfigModel

MOST_STEPS_AROUND: int = 200
"""The most frames on either side of a stored frame."""


class TrackingConfig(ConfigModel):
    """The `detection.tracking` section: objects are followed over the seconds around each frame that is looked at.

    Needs `pip install 'data-miner-dagster[tracks]'`. Costs about 2 * `window_seconds` / `every_seconds` more looks of
    each detector per frame, and their decoding.
    """

    window_seconds: float = Field(default=1.0, gt=0, le=30)
    """How far before and after a frame its neighbours are decoded and looked at. An object that is out of sight
    three times as long is another one when it comes back."""
    every_seconds: float = Field(default=0.25, ge=0.01, le=10)
    """Time between those neighbours. What moves faster needs a shorter one: an object has to overlap with itself."""
    whole_clip: bool = False
    """Follow objects over whole videos, not only around the frames, and write all tracks: `whole_clip_tracks.parquet`,
    and `data/tracks.parquet` of a release. Every video is then looked at from start to end, each `every_seconds`."""
    start_confidence: float = Field(default=0.2, ge=0, le=1)
    """Boxes from this confidence start a track. Weaker ones continue one, or stay as they are."""
    min_sightings: int = Field(default=3, ge=2, le=50)
    """A box is of an object that was seen on this many frames of its window, itself included, or it flickers. Windows
    at the ends of a video have fewer frames: more than half of them is enough."""
    flicker_factor: float = Field(default=0.25, ge=0, le=1)
    """The confidence of a box that flickers is multiplied by this."""
    same_object_iou: float = Field(default=0.5, gt=0, le=1)
    """The least IoU of a box with where its neighbours in time put the object. Other boxes are not part of a track."""
    recover: bool = True
    """Add boxes that no detector reported on a frame, of objects that were seen before and after it in its window."""
    keep_windows: bool = True
    """Keep the pictures of neighbours on disk, beside the frames. Otherwise they are removed once all detectors have
    looked at them, and another detector or class list decodes the video again, or downloads it where it is gone."""

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
