"""Records that cross layers. Each stage adds its own record; no record has fields that a later stage fills in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.reasons import RejectionRule, VideoErrorKind

RgbImage = npt.NDArray[np.uint8]
"""An RGB image of shape (H, W, 3)."""

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture file. If `is_foreign`, a third party may have written its bytes, so only a worker decodes them."""

    path: Path
    is_foreign: bool


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """A picture in display orientation, possibly downscaled. `full_wh` is the original size."""

    rgb: RgbImage
    full_wh: tuple[int, int]


@dataclass(frozen=True, slots=True)
class VideoCandidate:
    """One video found by a source, before anything is downloaded. Unknown metadata is None."""

    video_key: str
    url: str  # an http(s) address, a bucket's address or an absolute local path, depending on `origin`
    source: str  # kind of source: "urls", "files", "search", ...
    query: str  # the query: the URL, path, glob or search words
    rank: int  # position in the results, from 0
    found_at: datetime
    title: str | None = None
    channel: str | None = None
    channel_id: str | None = None
    licence: str | None = None
    upload_date: date | None = None
    duration_seconds: float | None = None
    view_count: int | None = None
    language: str | None = None
    is_live: bool | None = None
    width: int | None = None
    height: int | None = None
    tags: tuple[str, ...] = ()
    description: str | None = None
    thumbnail_url: str | None = None
    origin: Origin = Origin.FOREIGN  # who wrote `url`; only a user's own words may contain `{env:NAME}` or paths
    refusal: str | None = None  # why a foreign `url` cannot be accepted
    fault: str | None = None  # an internal error raised by the listing entry, which leaves most fields unknown


VIDEO_FACTS: Final = (
    "title",
    "channel",
    "channel_id",
    "licence",
    "upload_date",
    "duration_seconds",
    "width",
    "height",
)
"""The facts from a candidate that the catalog stores. Candidate fields and catalog columns have the same names."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """The rejection of a candidate or member: the rule, and one line for the user."""

    rule: RejectionRule
    message: str

    def __str__(self) -> str:
        return f"{self.rule.value}: {self.message}"


@dataclass(frozen=True, slots=True)
class VideoFileRecord:
    """The properties of a downloaded and verified video file."""

    file_name: str  # inside videos/<key>/, or "" for a folder of pictures
    size_bytes: int
    sha256: str
    duration_seconds: float
    width: int
    height: int
    title: str | None = None
    channel: str | None = None
    licence: str | None = None
    upload_date: date | None = None


class OutcomeStatus(StrEnum):
    """The status of one video or project after an operation."""

    DONE = "done"  # worked on now
    REUSED = "reused"  # already current: nothing done
    FAILED = "failed"  # recorded; may be retried
    UNAVAILABLE = "unavailable"  # recorded; the site withholds the video
    BLOCKED = "blocked"  # an earlier stage has not finished for it, or its next retry is not due yet

    @property
    def exists(self) -> bool:
        """True if the output exists and is current."""
        return self in (OutcomeStatus.DONE, OutcomeStatus.REUSED)


@dataclass(frozen=True, slots=True)
class VideoOutcome:
    """The result of an operation on one video. `metadata` contains numbers and strings for display."""

    video_key: str
    status: OutcomeStatus
    error_kind: VideoErrorKind | None = None
    message: str = ""
    metadata: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProjectOutcome:
    """The result of an operation on one project. `counts` are exact, keyed by reason or state, in a fixed order.

    An outcome always has an output, since an operation that cannot do its work raises an error.

    Raises:
        ValueError: `status` is neither DONE nor REUSED.
    """

    project: str
    status: OutcomeStatus
    fingerprint: str
    counts: Mapping[str, int]
    metadata: Mapping[str, int | float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject a status without an output."""
        if not self.status.exists:
            raise ValueError(
                f"`{self.status.value}` is not a valid outcome of project {self.project}; raise an error instead"
            )


@dataclass(frozen=True, slots=True)
class SimilarityCalibration:
    """An encoder's own thresholds. They are not valid for any other encoder."""

    positive_threshold: float  # image-text: keep at or above
    duplicate_threshold: float  # image-image cosine: near-duplicate at or above


@dataclass(frozen=True, slots=True)
class ExemplarImage:
    """An example image of an object to detect. Without boxes, the whole picture shows the object.

    Exemplars are equal if their bytes and boxes are. `read` decodes the picture, upright, and may raise ConfigError.
    """

    sha256: str
    boxes_xyxy: tuple[BoxXyxy, ...]
    read: Callable[[], RgbImage] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ClassPrompts:
    """One class to label, with its phrases (most distinctive first) and exemplars.

    At least one of `prompts` and `exemplars` is not empty.
    """

    class_name: str
    prompts: tuple[str, ...]
    exemplars: tuple[ExemplarImage, ...] = ()

    @property
    def exemplar_prompt(self) -> str:
        """The phrase to store for a box that was detected by the exemplars."""
        return f"{self.class_name} (images)"


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """Boxes of one image, sorted by descending confidence.

    `boxes_xyxy` is (N, 4) float32 in absolute pixels, inside the given image; `confidences` is (N,) float32 in 0..1;
    `class_indices` is (N,) int32 into the given class list; `prompts` has the matching phrase of each box. `masks` has
    one entry per box: a mask of the image's size, or None. If `masks` is omitted, no box has a mask. A box with a mask
    equals the mask's bounds.

    Raises:
        ValueError: `masks` is neither empty nor as long as the boxes.
    """

    boxes_xyxy: Float32Array
    confidences: Float32Array
    class_indices: npt.NDArray[np.int32]
    prompts: tuple[str, ...]
    masks: tuple[Mask | None, ...] = ()

    def __post_init__(self) -> None:
        """Fill `masks` with None if it was omitted, and check its length."""
        if not self.masks:
            object.__setattr__(self, "masks", (None,) * len(self.prompts))
        if len(self.masks) != len(self.prompts):
            raise ValueError(
                f"`masks` has length {len(self.masks)}, but there must be one mask or None for each box, so "
                f"{len(self.prompts)} in total"
            )

    @classmethod
    def empty(cls) -> "ImageDetections":
        """Return the detections of an image without boxes."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ())
