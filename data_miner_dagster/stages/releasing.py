"""Decide what a release contains: its frames and boxes, and the version name.

Pure functions. Does not belong here: the split of each video (splitting/), writing formats (export/), reading tables
(operations/releasing/source.py).
"""

import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.releasing import UnsurePolicy
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.domain.secret_names import is_secret_name
from data_miner_dagster.domain.verdicts import Verdict
from data_miner_dagster.stages.reviewing.judging import FoundBox, Judgement
from data_miner_dagster.stages.reviewing.states import BoxState

_VERSION: Final = re.compile(r"v(\d+)")
MIN_BOX_SIDE_PIXELS: Final = 1.0
"""A box that is narrower or shorter than this after clipping to the image is useless for training."""
DECIMALS: Final = 6
"""The number of decimal places of released float32 values: close to their precision, but easy to read."""

_OF_A_SIGNATURE: Final = frozenset({"expires", "expire", "policy", "x-amz-expires"})
"""Query parameters that are not secrets but belong to signed addresses, which expire."""


class FrameOutcome(StrEnum):
    """The decision about one frame for a release. Values are stored."""

    RELEASED = "released"
    HELD = "held"  # it has an unsure box, and waits until a person has reviewed it
    WITHOUT_BOXES = "without_boxes"  # it has no objects, and the project excludes frames without objects
    LEFT_OUT = "left_out"  # its files are missing or unreadable
    NOT_CHOSEN = "not_chosen"  # a selection chose other frames
    BETWEEN_BLOCKS = "between_blocks"  # it is in the gap between two splits of one video


@dataclass(frozen=True, slots=True)
class ReleaseRules:
    """The kinds of frames and boxes that a project allows in a release."""

    include_frames_without_boxes: bool
    unsure: UnsurePolicy = "hold"

    @classmethod
    def of(cls, config: ProjectConfig) -> "ReleaseRules":
        """Return the rules of a project."""
        return cls(config.releasing.include_frames_without_boxes, config.releasing.unsure)


@dataclass(frozen=True, slots=True)
class ReleasableBox:
    """A box as released: clipped to the frame and rounded."""

    position: int | None  # among the boxes detected on the frame, or None if only a verdict states the box
    class_index: int
    confidence: float  # 1 for a box that only a verdict states
    box_xyxy: BoxXyxy
    verdict: Verdict | None = None
    is_unsure: bool = False  # a region to ignore


def at_threshold(confidences: Float32Array, threshold: float) -> npt.NDArray[np.bool_]:
    """Return an (N,) mask of the confidences that reach the threshold as float32, so that a stored 0.7 reaches 0.7."""
    return confidences >= np.float32(threshold)


def candidate_frames(
    frame_indices: npt.NDArray[np.integer],
    is_representative: npt.NDArray[np.bool_],
    is_missing: Callable[[int], bool],
) -> list[int]:
    """Return the indices of one video's releasable frames, in time order: representatives that are not missing.

    Args:
        frame_indices: (N,) indices of the frames that deduplication processed, in any order.
        is_representative: (N,) whether a frame represents its duplicates.
        is_missing: a function that returns whether detection could not read a frame, or the frame's image is
            unavailable.
    """
    wanted: list[int] = np.sort(frame_indices[is_representative]).tolist()
    return [frame_index for frame_index in wanted if not is_missing(frame_index)]


def releasable_boxes(
    found: Sequence[FoundBox], judgement: Judgement, rules: ReleaseRules, resolution_wh: tuple[int, int]
) -> list[ReleasableBox] | FrameOutcome:
    """Return the released boxes of one frame, most confident first, or the reason why the frame is not released.

    A box counts if both sides are at least one pixel long after clipping to the frame. Boxes that show objects are
    released. The rules decide the effect of unsure boxes, and whether a frame without objects is released. Boxes of
    equal confidence are ordered by class, then coordinates.

    Args:
        found: the boxes that were detected on the frame.
        judgement: the boxes after people's verdicts have been applied.
        rules: the rules of the project.
        resolution_wh: the size of the frame in pixels.
    """
    boxes = []
    for judged in judgement.boxes:
        if judged.state is BoxState.NONE or (judged.state is BoxState.UNSURE and rules.unsure == "as_negative"):
            continue
        if (clipped := clip_box(judged.box_xyxy, resolution_wh)) is None:
            continue
        is_unsure = judged.state is BoxState.UNSURE
        if is_unsure and rules.unsure == "hold":
            return FrameOutcome.HELD
        confidence = 1.0 if judged.position is None else round(found[judged.position].confidence, DECIMALS)
        boxes.append(ReleasableBox(judged.position, judged.class_index, confidence, clipped, judged.verdict, is_unsure))
    if not rules.include_frames_without_boxes and all(box.is_unsure for box in boxes):
        return FrameOutcome.WITHOUT_BOXES
    return sorted(boxes, key=lambda box: (-box.confidence, box.class_index, box.box_xyxy))


def next_version(known_versions: Iterable[str]) -> str:
    """Return the version after the highest known one, or `v001` if no version is known."""
    numbers = [int(match[1]) for match in map(_VERSION.fullmatch, known_versions) if match]
    return f"v{max(numbers, default=0) + 1:03d}"


def version_number(version: str) -> int:
    """Return the number of a version, or 0 if the name is not a version. Use it to sort releases by age."""
    match = _VERSION.fullmatch(version)
    return int(match[1]) if match else 0


def clip_box(box_xyxy: BoxXyxy, image_wh: tuple[int, int]) -> BoxXyxy | None:
    """Return the part of a box inside the image, rounded to 1/1000 pixel, or None if a side is shorter than a pixel."""
    width, height = image_wh
    x_min, x_max = (round(min(max(value, 0.0), float(width)), 3) for value in (box_xyxy[0], box_xyxy[2]))
    y_min, y_max = (round(min(max(value, 0.0), float(height)), 3) for value in (box_xyxy[1], box_xyxy[3]))
    if x_max - x_min < MIN_BOX_SIDE_PIXELS or y_max - y_min < MIN_BOX_SIDE_PIXELS:
        return None
    return x_min, y_min, x_max, y_max


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything that a project could release, in compact columns: V videos with N ordered images and B boxes."""

    video_keys: tuple[str, ...]
    splits: tuple[str, ...]  # (V,) the split of each video
    video_offsets: npt.NDArray[np.int64]  # (V+1,) the images of video v are the half-open slice offsets[v]:offsets[v+1]
    frame_indices: npt.NDArray[np.int32]  # (N,)
    similarities: Float32Array  # (N,) to the positive prompt that kept the frame
    box_offsets: npt.NDArray[np.int64]  # (N+1,) the boxes of image i are the half-open slice offsets[i]:offsets[i+1]
    box_classes: npt.NDArray[np.int32]  # (B,) positions in the class list
    box_confidences: Float32Array  # (B,)

    def where(self, is_wanted: npt.NDArray[np.bool_]) -> "Candidates":
        """Return the images where `is_wanted` is True, with their boxes. A video may be left without images.

        Args:
            is_wanted: (N,) whether to include each image.
        """
        counts_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_wanted, dtype=np.int64)])
        num_boxes = np.diff(self.box_offsets)
        is_of_wanted = np.repeat(is_wanted, num_boxes)
        return replace(
            self,
            video_offsets=counts_before[self.video_offsets],
            frame_indices=self.frame_indices[is_wanted],
            similarities=self.similarities[is_wanted],
            box_offsets=_offsets(num_boxes[is_wanted]),
            box_classes=self.box_classes[is_of_wanted],
            box_confidences=self.box_confidences[is_of_wanted],
        )


class ImageSelection(Protocol):
    """A choice among all images that a project could release, for example with a limit per class."""

    @property
    def settings(self) -> Mapping[str, object]:
        """The inputs to the choice except the candidates, as JSON-compatible values.

        They are part of the release's fingerprint.
        """
        ...

    def choose(self, candidates: Candidates) -> npt.NDArray[np.bool_]:
        """Return an (N,) mask of the images to release."""
        ...


class ConfidenceCalibration(Protocol):
    """A conversion of a detector's confidence to the probability that a box is right."""

    @property
    def settings(self) -> Mapping[str, object]:
        """The parameters of the conversion, as JSON-compatible values. They are part of the release's fingerprint."""
        ...

    def calibrated(self, class_name: str, confidence: float) -> float | None:
        """Return the probability that a box of this class and confidence is right, or None if it is unknown."""
        ...


class CandidateColumns:
    """Builds `Candidates` from a stream of images, using about 20 bytes of memory per image and 8 per box."""

    def __init__(self) -> None:
        self._videos: dict[str, int] = {}  # key → number of images
        self._frame_indices, self._similarities = array("i"), array("f")
        self._num_boxes, self._box_classes, self._box_confidences = array("i"), array("i"), array("f")

    def add(self, video_key: str, frame_index: int, similarity: float, boxes: Iterable[tuple[int, float]]) -> None:
        """Add one image with the (class, confidence) of its boxes. Images must be sorted by video and time."""
        self._videos[video_key] = self._videos.get(video_key, 0) + 1
        self._frame_indices.append(frame_index)
        self._similarities.append(similarity)
        before = len(self._box_classes)
        for class_index, confidence in boxes:
            self._box_classes.append(class_index)
            self._box_confidences.append(confidence)
        self._num_boxes.append(len(self._box_classes) - before)

    def candidates(self, split_by_video: Mapping[str, str]) -> Candidates:
        """Return all images and boxes. The columns are not copied, so nothing more can be added."""
        return Candidates(
            video_keys=tuple(self._videos),
            splits=tuple(split_by_video[key] for key in self._videos),
            video_offsets=_offsets(list(self._videos.values())),
            frame_indices=np.frombuffer(self._frame_indices, np.int32),
            similarities=np.frombuffer(self._similarities, np.float32),
            box_offsets=_offsets(self._num_boxes),
            box_classes=np.frombuffer(self._box_classes, np.int32),
            box_confidences=np.frombuffer(self._box_confidences, np.float32),
        )


def _offsets(lengths: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.asarray(lengths, np.int64))])


def chosen_frames(candidates: Candidates, is_chosen: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.int32]]:
    """Return the chosen frame indices of each video, in order. Videos without chosen frames are omitted."""
    chosen = {
        key: candidates.frame_indices[start:stop][is_chosen[start:stop]]
        for key, start, stop in zip(
            candidates.video_keys,
            candidates.video_offsets[:-1].tolist(),
            candidates.video_offsets[1:].tolist(),
            strict=True,
        )
    }
    return {key: frames for key, frames in chosen.items() if len(frames)}


def public_reference(reference: str, *, is_path: bool) -> str:
    """Return an address, path or search text as a release may show it: machine-independent and without secrets.

    A local path is reduced to its last part, even if it resembles an address. An address loses its user name, password
    and fragment, and any query parameters that carry signatures, tokens or keys. If an address cannot be parsed, the
    result is "".
    """
    if is_path:
        return PurePosixPath(reference).name
    try:
        parts = urlsplit(reference)
    except ValueError:
        return ""
    if not (parts.scheme and parts.netloc):
        return reference
    query = [(name, value) for name, value in parse_qsl(parts.query, True) if not _is_private(name)]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(query), ""))


def _is_private(parameter: str) -> bool:
    return is_secret_name(parameter) or parameter.lower() in _OF_A_SIGNATURE
