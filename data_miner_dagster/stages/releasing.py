"""What a release holds: which frames and boxes, which split each video falls into, and what the version is called.

Pure decisions. Does not belong here: writing formats (export/), reading tables (operations/releasing/source.py).
"""

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.domain.secret_names import is_secret_name

_VERSION: Final = re.compile(r"v(\d+)")
MIN_BOX_SIDE_PIXELS: Final = 1.0
"""A box that is thinner once it has been cut to the image labels nothing that can be learnt."""
DECIMALS: Final = 6
"""Of stored float32 values: enough to tell any two of them apart where it matters, and short to read."""

_OF_A_SIGNATURE: Final = frozenset({"expires", "expire", "policy", "x-amz-expires"})
"""No secrets, but parts of a signed address that has expired long before anybody reads a release."""

BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ReleaseRules:
    """What a project lets into a release. A class is its position in the project's class list."""

    thresholds: tuple[float, ...]  # by class: the least confidence
    include_frames_without_boxes: bool

    @classmethod
    def of(cls, config: ProjectConfig) -> "ReleaseRules":
        """Return the rules of a project."""
        releasing = config.releasing
        thresholds = tuple(releasing.threshold_of(name) for name in config.detection.classes)
        return cls(thresholds, releasing.include_frames_without_boxes)


@dataclass(frozen=True, slots=True)
class FoundBox:
    """One box as detection stored it: absolute pixels of the frame, which it may exceed; the confidence a float32."""

    class_index: int
    confidence: float
    box_xyxy: BoxXyxy


@dataclass(frozen=True, slots=True)
class ReleasableBox:
    """One box as a release holds it: inside the frame, and rounded."""

    position: int  # among the boxes found on the frame
    class_index: int
    confidence: float
    box_xyxy: BoxXyxy


def at_threshold(confidences: Float32Array, threshold: float) -> npt.NDArray[np.bool_]:
    """Return (N,) which confidences reach a threshold, compared in float32: a stored 0.7 is at a threshold of 0.7."""
    return confidences >= np.float32(threshold)


def candidate_frames(
    frame_indices: npt.NDArray[np.integer],
    is_representative: npt.NDArray[np.bool_],
    is_missing: Callable[[int], bool],
) -> list[int]:
    """Return which frames of one video may be released, in order of time: representatives that can be had.

    Args:
        frame_indices: (N,) of the frames that deduplication saw, in any order.
        is_representative: (N,) whether a frame stands for its duplicates.
        is_missing: whether a frame could not be looked at, or its image cannot be had.
    """
    wanted: list[int] = np.sort(frame_indices[is_representative]).tolist()
    return [frame_index for frame_index in wanted if not is_missing(frame_index)]


def releasable_boxes(
    found: Sequence[FoundBox], rules: ReleaseRules, resolution_wh: tuple[int, int]
) -> list[ReleasableBox] | None:
    """Return the boxes of one frame that are released, the most confident first; None if the frame is not released.

    A box is released if it reaches the threshold of its class and a pixel or more of it lies inside the frame. Equal
    confidences are in the order of class and place. A frame without such a box is released if the rules let it.
    """
    if not found:
        return [] if rules.include_frames_without_boxes else None
    confidences = np.array([box.confidence for box in found], np.float32)
    thresholds = np.array([rules.thresholds[box.class_index] for box in found], np.float32)
    boxes = []
    for position in np.flatnonzero(confidences >= thresholds).tolist():
        box = found[position]
        if (clipped := clip_box(box.box_xyxy, resolution_wh)) is not None:
            boxes.append(ReleasableBox(position, box.class_index, round(box.confidence, DECIMALS), clipped))
    if not boxes and not rules.include_frames_without_boxes:
        return None
    return sorted(boxes, key=lambda box: (-box.confidence, box.class_index, box.box_xyxy))


def next_version(known_versions: Iterable[str]) -> str:
    """Return `v001`, or the version after the highest known one. Numbers are never given twice."""
    numbers = [int(match[1]) for match in map(_VERSION.fullmatch, known_versions) if match]
    return f"v{max(numbers, default=0) + 1:03d}"


def version_number(version: str) -> int:
    """Return the number of a version, 0 for a name that is none: sorts releases by age."""
    match = _VERSION.fullmatch(version)
    return int(match[1]) if match else 0


def clip_box(box_xyxy: BoxXyxy, image_wh: tuple[int, int]) -> BoxXyxy | None:
    """Return the part of a box inside the image, rounded to 1/1000 pixel; None if less than a pixel is left."""
    width, height = image_wh
    x_min, x_max = (round(min(max(value, 0.0), float(width)), 3) for value in (box_xyxy[0], box_xyxy[2]))
    y_min, y_max = (round(min(max(value, 0.0), float(height)), 3) for value in (box_xyxy[1], box_xyxy[3]))
    if x_max - x_min < MIN_BOX_SIDE_PIXELS or y_max - y_min < MIN_BOX_SIDE_PIXELS:
        return None
    return x_min, y_min, x_max, y_max


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything that a project could release, in compact columns: V videos with N images, in order, with B boxes."""

    video_keys: tuple[str, ...]
    splits: tuple[str, ...]  # of the videos
    video_offsets: npt.NDArray[np.int64]  # (V+1,) the images of video v are the half-open slice offsets[v]:offsets[v+1]
    frame_indices: npt.NDArray[np.int32]  # (N,)
    similarities: Float32Array  # (N,) to the positive prompt that kept the frame
    box_offsets: npt.NDArray[np.int64]  # (N+1,) likewise
    box_classes: npt.NDArray[np.int32]  # (B,) by position in the class list
    box_confidences: Float32Array  # (B,)


class ImageSelection(Protocol):
    """Chooses among all images that a project could release, such as a cap for each class."""

    @property
    def settings(self) -> Mapping[str, object]:
        """What the choice follows from beside the images, as JSON has it: part of the release's fingerprint."""
        ...

    def choose(self, candidates: Candidates) -> npt.NDArray[np.bool_]:
        """Return (N,) which images are released."""
        ...


class CandidateColumns:
    """Gathers `Candidates` while images pass by: some 20 bytes an image and 8 a box stay."""

    def __init__(self) -> None:
        self._videos: dict[str, int] = {}  # key → number of images
        self._frame_indices, self._similarities = array("i"), array("f")
        self._num_boxes, self._box_classes, self._box_confidences = array("i"), array("i"), array("f")

    def add(self, video_key: str, frame_index: int, similarity: float, boxes: Iterable[tuple[int, float]]) -> None:
        """Take note of one image: (class, confidence) of its boxes. Images come in order of video and time."""
        self._videos[video_key] = self._videos.get(video_key, 0) + 1
        self._frame_indices.append(frame_index)
        self._similarities.append(similarity)
        before = len(self._box_classes)
        for class_index, confidence in boxes:
            self._box_classes.append(class_index)
            self._box_confidences.append(confidence)
        self._num_boxes.append(len(self._box_classes) - before)

    def candidates(self, split_by_video: Mapping[str, str]) -> Candidates:
        """Return what was gathered; the columns are not copied, and nothing more can be added."""
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


def _offsets(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.asarray(lengths, np.int64))])


def chosen_frames(candidates: Candidates, is_chosen: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.int32]]:
    """Return the frame indices that were chosen of each video, in order; no video without any."""
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


def group_videos(video_keys: Sequence[str], links: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return the videos in groups that must share a split, each sorted, by their first key.

    A link joins two videos that hold near-duplicates of each other; a chain of links is one group. A link may name
    a video that is not in `video_keys` (of another project): it joins what it touches, and is not returned.
    """
    parents: dict[str, str] = {key: key for key in video_keys}

    def root_of(key: str) -> str:
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    for first, second in links:
        roots = sorted((root_of(first), root_of(second)))
        parents[roots[1]] = roots[0]
    members: dict[str, list[str]] = {}
    for key in sorted(set(video_keys)):
        members.setdefault(root_of(key), []).append(key)
    return sorted(tuple(group) for group in members.values())


def assign_splits(
    groups: Sequence[tuple[str, ...]],
    shares: Mapping[str, float],
    remembered: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the split of every video.

    A group's split follows from a hash of one of its keys, so it does not depend on which other videos there are,
    and shares are met as closely as independent draws meet them. A video that has a split keeps it, whatever else
    changes; the others of its group go where it is. Where a group holds videos of different splits (a new link joined
    them), the others go to the first of these in the order of `shares`, and `divided_groups` names the group.
    The first split is not left empty as long as a group without any remembered video is there: the one with the
    smallest hash goes there.

    Args:
        groups: of `group_videos`.
        shares: split to share, the training split first; the shares sum to 1.
        remembered: video key to split, as decided before under the same shares.
    """
    order = list(shares)
    known = remembered or {}
    splits: dict[str, str] = {}
    for group in groups:
        taken = {known[key] for key in group if key in known}
        kept = next((split for split in order if split in taken), None)
        split = kept or _split_at(_position(group), shares)
        splits |= {key: known.get(key, split) for key in group}
    fresh = [group for group in groups if not any(key in known for key in group)]
    if fresh and order[0] not in splits.values():
        first = min(fresh, key=lambda group: (_position(group), group))
        splits |= dict.fromkeys(first, order[0])
    return splits


def divided_groups(groups: Sequence[tuple[str, ...]], splits: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the groups whose videos are in different splits: near-duplicates of training pictures may be tested on."""
    return [group for group in groups if len({splits[key] for key in group}) > 1]


def merge_splits(releases: Sequence[Mapping[str, str]], order: Sequence[str]) -> dict[str, str]:
    """Return one split for every video of several releases, oldest first, that may contradict each other.

    The newest release is right about its own videos. Of others, those that were ever in an earlier split of `order`
    (the training split is the first) stay there: what was trained on is not tested on.
    """
    merged: dict[str, str] = {}
    for splits in releases:
        for key, split in splits.items():
            known = merged.get(key, split)
            merged[key] = min(known, split, key=order.index)
    return {**merged, **(releases[-1] if releases else {})}


def _position(group: tuple[str, ...]) -> float:
    """A number in [0, 1) that a group keeps as long as the member that speaks for it stays."""
    # The speaker is drawn by one hash and the position by another: with one hash, the smallest of several would
    # favour the first split.
    speaker = min(group, key=lambda key: hashlib.sha256(f"speaker:{key}".encode()).digest())
    digest = hashlib.sha256(f"split:{speaker}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _split_at(position: float, shares: Mapping[str, float]) -> str:
    upper = 0.0
    for split, share in shares.items():
        upper += share
        if position < upper:
            return split
    return list(shares)[-1]  # the shares may sum to a hair less than 1


def public_reference(reference: str, *, is_path: bool) -> str:
    """Return an address, path or words as a release may show them: the same on every machine, and without secrets.

    A local path becomes its last part, whatever its name looks like. An address loses its user name, password and
    fragment, and query parameters that carry signatures, tokens or keys.
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
