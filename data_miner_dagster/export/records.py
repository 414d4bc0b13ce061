"""The records from which every release format is written."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.tables import RECOVERED_COLUMN, RECOVERED_FROM_COLUMN, TRACK_ID_COLUMN, VERDICT_COLUMN
from data_miner_dagster.domain.tracks import Sighting

IMAGES_FOLDER: Final = "images"
"""The folder of images in a release or export, with one subfolder per split."""


MASK_COLUMN: Final = "mask"
EXTRA_COLUMNS: Final = (MASK_COLUMN, VERDICT_COLUMN, TRACK_ID_COLUMN, RECOVERED_COLUMN, RECOVERED_FROM_COLUMN)
"""Columns of the table of detections that only some projects fill. Releases of other projects omit them."""

PERSON: Final = "person"
"""The `detector` of a box that a person added and no detector reported."""


@dataclass(frozen=True, slots=True)
class ReleaseHeader:
    """Facts shared by all images. A class id is an index into `class_names`. The split `train`, if any, is first."""

    project: str
    version: str
    description: str
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    extra_columns: tuple[str, ...] = field(default=(), compare=False)
    """The columns of EXTRA_COLUMNS that the project fills, and that `boxes.parquet` therefore has."""

    @property
    def has_masks(self) -> bool:
        """True if boxes may have masks."""
        return MASK_COLUMN in self.extra_columns

    @property
    def title(self) -> str:
        """The project and version as one string."""
        return f"{self.project} {self.version}"


@dataclass(frozen=True, slots=True)
class ReleaseBox:
    """One box in absolute pixels inside its image, with its detectors and a person's verdict on it.

    For a box that only a person added, `detector` is `PERSON`, `confidence` is 1 and `num_agreeing_detectors` is 0.
    """

    class_index: int
    class_name: str
    box_xyxy: tuple[float, float, float, float]
    confidence: float
    prompt: str
    detector: str
    num_agreeing_detectors: int
    verdict: str | None = None  # a `VerdictWord`, or None if no person judged the box
    answer_id: str | None = None  # the id of the answer with the verdict
    confidence_calibrated: float | None = None  # the probability that the box is correct; None without a calibration
    is_unsure: bool = False  # not a label, but a region to ignore
    verifier_verdict: str | None = None  # a `VerifierVerdict`; None if not queried or not answered yet
    mask: Mask | None = None  # at the image's size; its bounds equal the box to within a pixel
    track_id: int | None = None  # counts from 1 within a video; None if not followed or seen only once
    recovered: bool | None = None  # True if no detector reported the box here; None if objects are not followed
    recovered_from: tuple[Sighting, ...] | None = None  # detections in other frames; None unless `recovered`


@dataclass(frozen=True, slots=True)
class ReleaseImage:
    """One image with its boxes, its video and time, and the prompt for which it was kept.

    `image_id` counts from 1 in order of video key and time. `file_name` is `<split>/<name>`, below `IMAGES_FOLDER`.
    The exact time is `pts * time_base_numerator / time_base_denominator` seconds.
    """

    image_id: int
    file_name: str
    split: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    frame_id: str
    video_key: str
    frame_index: int  # position among the video's sampled frames, counting from 0
    video_url: str
    pts: int
    time_base_numerator: int
    time_base_denominator: int
    pts_seconds: float
    similarity: float  # to `similar_prompt`
    similar_prompt: str
    sharpness: float  # as in `media.quality.FrameQuality`
    num_duplicates: int  # duplicates that this frame represents and that are not released
    boxes: tuple[ReleaseBox, ...] = ()

    @property
    def labels(self) -> tuple[ReleaseBox, ...]:
        """The boxes that are objects rather than regions to ignore."""
        return tuple(box for box in self.boxes if not box.is_unsure)

    @property
    def path_in_release(self) -> str:
        """The path of the image's file inside a release."""
        return f"{IMAGES_FOLDER}/{self.file_name}"

    @property
    def extension(self) -> str:
        """The extension of the image's file, without the dot: `jpg`, `png` or `webp`."""
        return PurePosixPath(self.file_name).suffix.removeprefix(".")


@dataclass(frozen=True, slots=True)
class ReleaseVideo:
    """One video with at least one released image. Unknown metadata is None.

    `source` is the type of the source that listed the video, and `query` is its path, address or words.
    """

    video_key: str
    split: str  # or, for a video that is cut in time, its blocks as `domain.splits.text_of_cut` writes them
    group: str  # videos in one group share near-duplicates, so they also share the split
    url: str
    title: str | None
    channel: str | None
    licence: str | None
    upload_date: str | None  # ISO 8601
    duration_seconds: float | None
    sha256: str | None  # the video file's or picture folder's
    source: str
    query: str
    num_frames: int  # sampled
    num_images: int  # released
    num_boxes: int  # released


@dataclass(frozen=True, slots=True)
class ReleaseModel:
    """One model that was used to build the release."""

    role: str
    name: str
    source: str
    revision: str | None
    licence: str
    fingerprint: str


@dataclass(slots=True)
class ReleaseTally:
    """Running counts of images and boxes, and the total size of the images.

    Unsure boxes are regions to ignore. They do not count as boxes, but are counted separately.
    """

    num_images: int = 0
    num_boxes: int = 0
    num_unsure_boxes: int = 0
    num_images_without_boxes: int = 0
    size_bytes: int = 0
    images_by_split: dict[str, int] = field(default_factory=dict)
    boxes_by_split: dict[str, int] = field(default_factory=dict)
    unsure_boxes_by_split: dict[str, int] = field(default_factory=dict)
    images_by_extension: dict[str, int] = field(default_factory=dict)
    images_by_class: dict[str, int] = field(default_factory=dict)
    boxes_by_class: dict[str, int] = field(default_factory=dict)
    boxes_by_split_and_class: dict[str, dict[str, int]] = field(default_factory=dict)
    boxes_by_verdict: dict[str, int] = field(default_factory=dict)  # only boxes that a person judged
    images_by_video: dict[str, int] = field(default_factory=dict)
    boxes_by_video: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, header: ReleaseHeader) -> "ReleaseTally":
        """Return a tally with every split and class of `header` at zero, in the header's order."""
        return cls(
            images_by_split=dict.fromkeys(header.splits, 0),
            boxes_by_split=dict.fromkeys(header.splits, 0),
            unsure_boxes_by_split=dict.fromkeys(header.splits, 0),
            images_by_class=dict.fromkeys(header.class_names, 0),
            boxes_by_class=dict.fromkeys(header.class_names, 0),
            boxes_by_split_and_class={split: {} for split in header.splits},
        )

    def add(self, image: ReleaseImage) -> None:
        """Count one image and its boxes."""
        labels = image.labels
        self.num_images += 1
        self.num_boxes += len(labels)
        self.num_unsure_boxes += len(image.boxes) - len(labels)
        self.num_images_without_boxes += not labels
        self.size_bytes += image.size_bytes
        self.images_by_split[image.split] += 1
        self.images_by_extension[image.extension] = self.images_by_extension.get(image.extension, 0) + 1
        self.boxes_by_split[image.split] += len(labels)
        self.unsure_boxes_by_split[image.split] += len(image.boxes) - len(labels)
        for class_name in {box.class_name for box in labels}:
            self.images_by_class[class_name] += 1
        in_split = self.boxes_by_split_and_class[image.split]
        for box in labels:
            self.boxes_by_class[box.class_name] += 1
            in_split[box.class_name] = in_split.get(box.class_name, 0) + 1
            if box.verdict is not None:
                self.boxes_by_verdict[box.verdict] = self.boxes_by_verdict.get(box.verdict, 0) + 1
        self.images_by_video[image.video_key] = self.images_by_video.get(image.video_key, 0) + 1
        self.boxes_by_video[image.video_key] = self.boxes_by_video.get(image.video_key, 0) + len(labels)
