from pathlib import Path

import numpy as np
import pyarrow as pa

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.tables import DETECTIONS_SCHEMA
from data_miner_dagster.storage.atomic import PARTIAL_MARK
from data_miner_dagster.storage.detection_parts import DetectionParts, remove_incomplete_parts, remove_other_parts
from data_miner_dagster.storage.tables import read_table, write_table


def box(frame_id: str, confidence: float) -> dict[str, object]:
    return {
        "frame_id": frame_id,
        "video_key": "files-a",
        "frame_index": 0,
        "class_name": "bus",
        "prompt": "bus",
        "confidence": confidence,
        "x_min": 0,
        "y_min": 0,
        "x_max": 1,
        "y_max": 1,
        "detector": "d",
        "num_agreeing_detectors": 1,
    }


def frame(frame_id: str, sha256: str) -> dict[str, object]:
    return {"frame_id": frame_id, "image_sha256": sha256, "detection_fingerprint": "f", "num_boxes": 1}


def boxes_of(parts: DetectionParts, sha256_by_frame: dict[str, str]) -> pa.Table:
    return parts.found(sha256_by_frame).of(sha256_by_frame)


def test_parts__none_yet(tmp_path: Path) -> None:
    parts = DetectionParts(tmp_path / "parts", "f")
    assert parts.seen() == {}
    assert boxes_of(parts, {"a": "1"}).num_rows == 0


def test_found__frames_asked_for_with_the_image_that_was_seen(tmp_path: Path) -> None:
    parts = DetectionParts(tmp_path, "f")
    parts.append([box("b", 0.5), box("b", 0.25)], [frame("b", "2"), frame("empty", "9")])
    parts.append([box("a", 0.75), box("c", 1.0)], [frame("a", "1"), frame("c", "3")])
    assert parts.seen() == {"a": "1", "b": "2", "c": "3", "empty": "9"}
    found = boxes_of(parts, {"a": "1", "b": "2", "c": "another image", "empty": "9"})
    assert found["frame_id"].to_pylist() == ["a", "b", "b"]
    assert found["confidence"].to_pylist() == [0.75, 0.5, 0.25]


def test_found__the_later_part_counts(tmp_path: Path) -> None:
    parts = DetectionParts(tmp_path, "f")
    parts.append([box("a", 0.5)], [frame("a", "1")])
    parts.append([], [frame("a", "1")])
    assert boxes_of(parts, {"a": "1"}).num_rows == 0


def test_parts__half_a_part_does_not_count(tmp_path: Path) -> None:
    parts = DetectionParts(tmp_path, "f")
    parts.append([box("a", 0.5)], [frame("a", "1")])
    (tmp_path / "000000.frames.parquet").unlink()  # as if killed between writing the two files
    (tmp_path / f"{PARTIAL_MARK}x-000001.boxes.parquet").write_bytes(b"half")
    parts.prepare()
    assert parts.seen() == {}
    parts.append([box("b", 0.5)], [frame("b", "2")])
    assert boxes_of(parts, {"a": "1", "b": "2"})["frame_id"].to_pylist() == ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.boxes.parquet", "000000.frames.parquet"]


def test_remove_incomplete_parts__only_a_part_without_its_frames_goes(tmp_path: Path) -> None:
    parts = DetectionParts(tmp_path / "detector-f", "f")
    parts.prepare()
    for number in range(2):
        parts.append([box(f"v/{number}", 0.5)], [frame(f"v/{number}", "x")])
    (parts.folder / "000001.frames.parquet").unlink()
    remove_incomplete_parts(tmp_path)
    assert sorted(path.name for path in parts.folder.iterdir()) == ["000000.boxes.parquet", "000000.frames.parquet"]
    remove_incomplete_parts(tmp_path / "absent")


def test_parts__of_another_fingerprint_do_not_count(tmp_path: Path) -> None:
    DetectionParts(tmp_path, "old").append([], [frame("a", "1")])
    assert DetectionParts(tmp_path, "new").seen() == {}


def test_remove_other_parts__missing_folder_and_others(tmp_path: Path) -> None:
    remove_other_parts(tmp_path / "missing", keep=())
    for name in ("kept", "other"):
        DetectionParts(tmp_path / name, "f").append([], [frame("a", "1")])
    remove_other_parts(tmp_path, keep=[tmp_path / "kept"])
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_found__with_masks_and_without(tmp_path: Path) -> None:
    parts = DetectionParts(tmp_path, "f")
    mask = Mask.of(np.eye(3, dtype=bool))
    parts.append([box("b", 0.5) | {"mask": mask.as_coco()}, box("b", 0.25)], [frame("b", "2")])
    found, none = boxes_of(parts, {"b": "2"})["mask"].to_pylist()
    assert Mask.from_coco(found) == mask
    assert none is None


def test_found__parts_of_a_version_without_masks(tmp_path: Path) -> None:
    parts = DetectionParts(tmp_path, "f")
    parts.append([box("a", 0.5)], [frame("a", "1")])
    path = tmp_path / "000000.boxes.parquet"
    write_table(path, read_table(path).drop_columns("mask"), fingerprint="f")
    parts.append([box("b", 0.5)], [frame("b", "2")])
    found = boxes_of(parts, {"a": "1", "b": "2"})
    assert found.schema == DETECTIONS_SCHEMA
    assert found["frame_id"].to_pylist() == ["a", "b"]
    assert found["mask"].to_pylist() == [None, None]


def test_found__a_few_frames_at_a_time(tmp_path: Path) -> None:
    parts = DetectionParts(tmp_path, "f")
    parts.append([box("a", 0.5), box("b", 0.25), box("b", 0.125)], [frame("a", "1"), frame("b", "1")])
    parts.append([box("c", 0.75), box("b", 1.0)], [frame("c", "1"), frame("b", "2")])
    found = parts.found({"a": "1", "b": "1", "c": "1"})  # the later part is based on another image of b
    assert found.of(["b"])["confidence"].to_pylist() == [0.25, 0.125]
    assert found.of(["c", "a"])["confidence"].to_pylist() == [0.5, 0.75]
    assert found.of(["d"]).num_rows == 0
