"""Compare every stage of a project with the oracle on random keys, frames and vectors of one to six hundred videos."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_miner_dagster.domain.errors import NothingToReleaseError
from data_miner_dagster.operations.deduplication.check import check_deduplication
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.detection import detect_project as detection_module
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.detection.runs import FrameToDetect, Looker, frame_row
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests import oracle
from data_miner_dagster_tests.oracle import DuplicateRules, FilterRules, FrameFacts
from data_miner_dagster_tests.support.axis_project import PlantedPlatform
from data_miner_dagster_tests.support.random_project import (
    PROJECT,
    Box,
    PlantedVideos,
    plant_videos,
    random_boxes,
    save_random_project,
)
from data_miner_dagster_tests.support.views import told_apart_by

pytestmark = pytest.mark.slow(35)

CLASS_WISE_IOU = 0.5
SHARES = {"train": 0.5, "check": 0.3, "test": 0.2}
CLASS_THRESHOLDS = {"cat": 0.6}
DEFAULT_THRESHOLD = 0.3
CLASS_UNSURE_FROM = {"dog": 0.3}  # equal to the threshold, so that no dog is unsure
DEFAULT_UNSURE_FROM = 0.2


class Planted:
    """A project of random videos that runs through its stages and is compared with the oracle after each."""

    def __init__(self, root: Path, num_videos: int, most_frames: int, seed: int) -> None:
        self.rng = np.random.default_rng((seed, num_videos))
        self.platform = PlantedPlatform(root)
        self.rules = self._random_rules()
        save_random_project(
            self.platform,
            self._filtering(),
            detection={"classes": {"cat": [], "dog": [], "bus": []}, "class_wise_iou": CLASS_WISE_IOU},
            releasing={
                "splits": SHARES,
                "guard_seconds": 0.0,  # no image falls into a gap if there are one or two videos
                "class_thresholds": CLASS_THRESHOLDS,
                "confidence_threshold": DEFAULT_THRESHOLD,
                "unsure_from": DEFAULT_UNSURE_FROM,
                "class_unsure_from": CLASS_UNSURE_FROM,
                "include_frames_without_boxes": bool(self.rng.integers(2)),
            },
        )
        self.videos: PlantedVideos = plant_videos(self.platform, self.rng, num_videos, most_frames)
        self.boxes: dict[str, list[Box]] = {}

    def _random_rules(self) -> FilterRules:
        rng = self.rng
        return FilterRules(
            positive={"cat": 0.3, "bus": 0.7} if rng.random() < 0.5 else {"cat": 0.25},
            negative={"dog": (0.2, float(rng.choice([0.0, 0.1])))} if rng.random() < 0.7 else {},
            junk={"slide": (0.6, float(rng.choice([-0.1, 0.1])) if rng.random() < 0.5 else None)},
            dropped_flags=("black", "blurred"),
            min_gap_seconds=float(rng.choice([0.0, 0.5, 1.0])),
            max_frames_per_video=int(rng.choice([2, 3])) if rng.random() < 0.7 else None,
            cap_by="spread" if rng.random() < 0.5 else "similarity",
        )

    def _filtering(self) -> dict[str, Any]:
        rules = self.rules
        return {
            "positive": [{"text": text, "threshold": threshold} for text, threshold in rules.positive.items()],
            "negative": [
                {"text": text, "threshold": least, "margin": margin} for text, (least, margin) in rules.negative.items()
            ],
            "junk": [{"text": text, "threshold": least, "margin": lead} for text, (least, lead) in rules.junk.items()],
            "drop_quality_flags": list(rules.dropped_flags),
            "min_gap_seconds": rules.min_gap_seconds,
            "max_frames_per_video": rules.max_frames_per_video,
            "cap_by": rules.cap_by,
        }

    def rows(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_table(
            self.platform.layout.project_folder(PROJECT) / f"{name}.parquet"
        ).to_pylist()
        return rows

    def compare_filtering(self) -> None:
        filter_project(self.platform, PROJECT)
        stored = self.rows("filtered")
        assert len({row["frame_id"] for row in stored}) == len(stored)
        expected = oracle.filter_decisions(self.videos.facts, self.rules)
        assert {row["frame_id"]: row["drop_reason"] for row in stored} == expected
        assert all(row["is_kept"] == (row["drop_reason"] is None) for row in stored)
        self.kept = [frame for frame in self.videos.facts if expected[frame.frame_id] is None]

    def compare_deduplication(self) -> None:
        deduplicate_project(self.platform, PROJECT)
        leading = {frame.frame_id: oracle.leading_similarity(frame, self.rules) or 0.0 for frame in self.kept}
        is_apart = told_apart_by(self.videos.thumbnails)
        rules = DuplicateRules(threshold=0.9)
        self.found = oracle.deduplicate(self.kept, leading, self.videos.vectors, rules, is_apart)
        stored = self.rows("deduplicated")
        assert [row["frame_id"] for row in stored] == sorted(self.found)
        assert {
            row["frame_id"]: oracle.Duplicate(row["representative_frame_id"], row["tier"]) for row in stored
        } == self.found
        self.reuploads = oracle.reuploads(self.kept, self.found)
        assert {row["video_key"]: row["original_video_key"] for row in self.rows("reuploads")} == self.reuploads
        self.unique = sorted(frame_id for frame_id, what in self.found.items() if what.tier is None)

    def compare_detection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(detection_module, "look_at_unseen", self._say_at_random)
        detect_project(self.platform, PROJECT)
        expected = [
            (frame_id, *box) for frame_id in self.unique for box in _without_overlaps(self.boxes.get(frame_id, []))
        ]
        stored = [
            (
                row["frame_id"],
                row["class_name"],
                round(row["confidence"], 4),
                tuple(row[name] for name in ("x_min", "y_min", "x_max", "y_max")),
            )
            for row in self.rows("detections")
        ]
        assert stored == expected
        num_boxes = {row["frame_id"]: row["num_boxes"] for row in self.rows("detected_frames")}
        assert num_boxes == {frame_id: sum(row[0] == frame_id for row in expected) for frame_id in self.unique}

    def _say_at_random(
        self,
        platform: Platform,
        _project: object,
        looker: Looker,
        frames: Sequence[FrameToDetect],
        *_others: object,
    ) -> None:
        """Store random boxes for the frames in three parts, in another order than that of `frames`."""
        parts, role = looker.parts, platform.models.detector
        parts.prepare()
        order = self.rng.permutation(len(frames))
        for some in np.array_split(order, 3):
            said: list[Mapping[str, object]] = []
            seen = []
            for frame in (frames[place] for place in some.tolist()):
                self.boxes[frame.frame_id] = random_boxes(self.rng)
                said += [_box_row(frame, role.name, box) for box in self.boxes[frame.frame_id]]
                seen.append(frame_row(frame, parts.fingerprint, len(self.boxes[frame.frame_id])))
            parts.append(said, seen)

    def compare_release(self) -> None:
        includes_all = self.platform.project_config(PROJECT).releasing.include_frames_without_boxes
        boxes = {frame_id: _releasable(self.boxes[frame_id]) for frame_id in self.unique}
        settled = [frame_id for frame_id in self.unique if not _has_unsure_box(self.boxes[frame_id])]
        released = [frame_id for frame_id in settled if boxes[frame_id] or includes_all]
        if not released:
            with pytest.raises(NothingToReleaseError):
                release_project(self.platform, PROJECT)
            return
        outcome = release_project(self.platform, PROJECT)
        assert outcome.counts["waiting for review"] == len(self.unique) - len(settled)
        folder = self.platform.layout.release_folder(PROJECT, "v001")
        released.sort(key=lambda frame_id: (frame_id.rpartition("/")[0], frame_id))
        keys = sorted({frame_id.rpartition("/")[0] for frame_id in released})
        by_id = {frame.frame_id: frame for frame in self.videos.facts}
        links = [(by_id[one].video_key, by_id[what.representative].video_key) for one, what in self.found.items()]
        manifest = json.loads((folder / "release.json").read_text())
        splits = manifest["splits"]["by_video"]
        numbers = Counter(by_id[frame_id].video_key for frame_id in released)
        groups = oracle.split_groups(keys, [*links, *self.reuploads.items()])
        assert oracle.split_problems(groups, _in_order(SHARES), splits, numbers) == []
        images = read_table(folder / "data" / "images.parquet").to_pylist()
        assert [(row["frame_id"], row["split"], row["num_boxes"], row["sha256"]) for row in images] == [
            (frame_id, _split_of(splits, by_id[frame_id]), len(boxes[frame_id]), by_id[frame_id].sha256)
            for frame_id in released
        ]
        assert [row["image_id"] for row in images] == list(range(1, len(released) + 1))
        stored = read_table(folder / "data" / "boxes.parquet").to_pylist()
        assert [(row["frame_id"], row["class_name"], row["confidence"]) for row in stored] == [
            (frame_id, name, confidence) for frame_id in released for name, confidence, _ in boxes[frame_id]
        ]
        for row in images:
            assert (folder / "images" / row["file_name"]).stat().st_size == row["size_bytes"]


def _split_of(splits: Mapping[str, str], frame: FrameFacts) -> str | None:
    return oracle.split_at(splits[frame.video_key], frame.seconds)


def _in_order(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: shares[name] for name in ("train", *sorted(set(shares) - {"train"}))}


def _box_row(frame: FrameToDetect, detector: str, box: Box) -> dict[str, object]:
    name, confidence, (x_min, y_min, x_max, y_max) = box
    return {
        "frame_id": frame.frame_id,
        "video_key": frame.video_key,
        "frame_index": frame.frame_index,
        "class_name": name,
        "prompt": name,
        "confidence": confidence,
        "x_min": x_min,
        "y_min": y_min,
        "x_max": x_max,
        "y_max": y_max,
        "detector": detector,
        "num_agreeing_detectors": 1,
    }


def _without_overlaps(boxes: Sequence[Box]) -> list[Box]:
    kept: list[Box] = []
    for box in boxes:
        if not any(other[0] == box[0] and _overlap(other[2], box[2]) > CLASS_WISE_IOU for other in kept):
            kept.append(box)
    return kept


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _has_unsure_box(boxes: Sequence[Box]) -> bool:
    return any(
        CLASS_UNSURE_FROM.get(name, DEFAULT_UNSURE_FROM) <= confidence < CLASS_THRESHOLDS.get(name, DEFAULT_THRESHOLD)
        for name, confidence, _ in _without_overlaps(boxes)
    )


def _releasable(boxes: Sequence[Box]) -> list[Box]:
    return [box for box in _without_overlaps(boxes) if box[1] >= CLASS_THRESHOLDS.get(box[0], DEFAULT_THRESHOLD)]


@pytest.fixture(autouse=True)
def _leave_the_disk_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable fsync: thousands of files are planted, and none needs to survive a power failure."""
    monkeypatch.setattr("os.fsync", lambda _file: None)


@pytest.mark.parametrize(
    ("num_videos", "most_frames", "seed"), [(1, 9, 0), (1, 9, 1), (2, 6, 0), (7, 8, 0), (7, 8, 1), (60, 6, 0)]
)
def test_stages__of_few_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_videos: int, most_frames: int, seed: int
) -> None:
    planted = Planted(tmp_path, num_videos, most_frames, seed)
    planted.compare_filtering()
    planted.compare_deduplication()
    assert check_deduplication(planted.platform, PROJECT).holds
    if planted.unique:
        planted.compare_detection(monkeypatch)
        if any(planted.boxes.values()):
            planted.compare_release()


@pytest.mark.parametrize(("num_videos", "most_frames"), [(120, 4), (600, 2)])
def test_stages__of_many_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_videos: int, most_frames: int
) -> None:
    planted = Planted(tmp_path, num_videos, most_frames, 1)
    planted.compare_filtering()
    planted.compare_deduplication()
    planted.compare_detection(monkeypatch)
    planted.compare_release()
