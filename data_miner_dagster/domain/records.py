"""Records that cross layers. Each stage adds a new record; none has fields that a later stage fills in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.reasons import RejectionRule, VideoErrorKind

RgbImage = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file that holds a picture. `is_foreign`: a stranger may have written its bytes; only a worker decodes them."""

    path: Path
    is_foreign: bool


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """A picture as people see it, upright and perhaps reduced; `full_wh` is the size of the whole."""

    rgb: RgbImage
    full_wh: tuple[int, int]


@dataclass(frozen=True, slots=True)
class VideoCandidate:
    """One video found by a source, before anything is downloaded. Unknown metadata is None."""

    video_key: str
    url: str  # http(s) address, or an absolute local path: `origin` says which
    source: str  # kind of source: "urls", "files", "search", ...
    query: str  # what was asked: the URL, path, glob or search words
    rank: int  # position in the answer, from 0
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
    origin: Origin = Origin.FOREIGN  # who wrote `url`; `{env:NAME}` and paths are read in a user's words alone
    refusal: str | None = None  # why a foreign `url` cannot be taken
    fault: str | None = None  # the internal error that its entry of the listing met; little else is known then


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
"""What a candidate says of its video that the catalog keeps: fields of the one, columns of the other."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A candidate turned down before download, with the rule and one line for the user."""

    rule: RejectionRule
    message: str

    def __str__(self) -> str:
        return f"{self.rule.value}: {self.message}"


@dataclass(frozen=True, slots=True)
class VideoFileRecord:
    """What is known of a downloaded and proven video file."""

    file_name: str  # inside videos/<key>/
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
    """What happened to one video or project in an operation."""

    DONE = "done"  # worked on now
    REUSED = "reused"  # already current: nothing done
    FAILED = "failed"  # recorded; may be retried
    UNAVAILABLE = "unavailable"  # recorded; the site withholds it
    BLOCKED = "blocked"  # an earlier stage has not finished for it, or its retry date lies ahead

    @property
    def exists(self) -> bool:
        """True if the output exists and is current."""
        return self in (OutcomeStatus.DONE, OutcomeStatus.REUSED)


@dataclass(frozen=True, slots=True)
class VideoOutcome:
    """What an operation made of one video. `metadata` holds plain numbers and strings worth showing."""

    video_key: str
    status: OutcomeStatus
    error_kind: VideoErrorKind | None = None
    message: str = ""
    metadata: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProjectOutcome:
    """What an operation made of one project. `counts` are exact, keyed by reason or state, in a fixed order.

    There is always something that was made: an operation that cannot do its work raises.
    """

    project: str
    status: OutcomeStatus
    fingerprint: str
    counts: Mapping[str, int]
    metadata: Mapping[str, int | float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what would be taken for a result and is none."""
        if not self.status.exists:
            raise ValueError(f"{self.project}: {self.status.value} is no outcome of a project; raise what is wrong")


@dataclass(frozen=True, slots=True)
class SimilarityCalibration:
    """An encoder's own thresholds. A threshold of one encoder means nothing for another."""

    positive_threshold: float  # image-text: keep at or above
    duplicate_threshold: float  # image-image cosine: near-duplicate at or above


@dataclass(frozen=True, slots=True)
class ClassPrompts:
    """One class to label and the phrases that stand for it, most telling first."""

    class_name: str
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """Boxes of one image, sorted by descending confidence.

    `boxes_xyxy` is (N, 4) float32 in absolute pixels of the image given, inside it; `confidences` (N,) float32 in
    0..1; `class_indices` (N,) int32 into the class list given; `prompts` the phrase that matched, one a box.
    """

    boxes_xyxy: Float32Array
    confidences: Float32Array
    class_indices: npt.NDArray[np.int32]
    prompts: tuple[str, ...]

    @classmethod
    def empty(cls) -> "ImageDetections":
        """Return the detections of an image in which nothing was found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ())
