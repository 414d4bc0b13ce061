"""Settings for following objects through a video."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from data_miner_dagster.config.base import ConfigModel

MOST_STEPS_AROUND: int = 200
"""The maximum number of neighbours on either side of a stored frame."""


class TrackerChoice(StrEnum):
    """The method that follows objects from frame to frame."""

    BYTE_TRACK = "byte_track"
    SAM3 = "sam3"


class TrackingConfig(ConfigModel):
    """The `detection.tracking` section: follow objects during the seconds around each examined frame.

    The default tracker requires `pip install 'data-miner-dagster[tracks]'`. Each frame costs about 2 * `window_seconds`
    / `every_seconds` additional passes of a network, and the decoding of as many pictures.
    """

    tracker: TrackerChoice = TrackerChoice.BYTE_TRACK
    """How to follow objects. `byte_track`: the detectors also examine the neighbours (the pictures around each frame),
    and ByteTrack links the boxes by position and colours. `sam3`: SAM 3's video mode detects objects by the classes'
    phrases on the frames and their neighbours, and follows and outlines each object; the detectors examine only the
    frames. See docs/detection.md."""
    tracker_model: str = "sam3"
    """For `tracker: sam3`: the entry in the model registry. Its checkpoint must be for the video network. The
    checkpoint of the built-in entry is gated."""

    window_seconds: float = Field(default=1.0, gt=0, le=30)
    """The time before and after a frame in which its neighbours are decoded and examined. An object that reappears
    after more than three times this long counts as a new object."""
    every_seconds: float = Field(default=0.25, ge=0.01, le=10)
    """The time between neighbouring pictures. Fast objects need a shorter time, because an object must overlap with its
    previous position."""
    whole_clip: bool = False
    """Follow objects through entire videos, not only around frames, and write all tracks to
    `whole_clip_tracks.parquet` and to `data/tracks.parquet` of a release. Every video is then examined from start to
    end, at intervals of `every_seconds`."""
    start_confidence: float = Field(default=0.2, ge=0, le=1)
    """Boxes with at least this confidence start a track. Less confident boxes can only continue a track, or stay
    unchanged."""
    min_sightings: int = Field(default=3, ge=2, le=50)
    """A box flickers unless its object was seen on at least this many frames of its window, including its own, or on
    more than half of the window's frames. The latter is easier at the ends of a video, where windows have fewer frames.
    """
    flicker_factor: float = Field(default=0.25, ge=0, le=1)
    """The factor by which the confidence of a flickering box is multiplied."""
    same_object_iou: float = Field(default=0.5, gt=0, le=1)
    """The minimum IoU of a box with the position predicted from neighbouring frames. Boxes with a lower IoU do not join
    the track."""
    recover: bool = True
    """Add boxes for objects that no detector reported on a frame but that were seen before and after it in its window.
    """
    keep_windows: bool = True
    """Keep the pictures of neighbours on disk. Otherwise they are removed after all detectors have examined them, and
    another detector or class list requires decoding the video again, or downloading it if its file was removed."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.every_seconds > self.window_seconds:
            raise ValueError(
                f"every_seconds={self.every_seconds:g} is longer than window_seconds={self.window_seconds:g}, so a "
                "frame would have no neighbours; lower the first or raise the second"
            )
        if self.window_seconds / self.every_seconds > MOST_STEPS_AROUND:
            raise ValueError(
                f"window_seconds={self.window_seconds:g} is more than {MOST_STEPS_AROUND} times "
                f"every_seconds={self.every_seconds:g}; raise every_seconds or lower window_seconds"
            )
        return self
