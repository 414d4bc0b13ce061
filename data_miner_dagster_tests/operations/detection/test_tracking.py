"""Test following objects along real clips, decoded by the real planner, with a careless detector."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import COLOURS_COLUMN, DETECTIONS_SCHEMA
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.detection.boxes import iou_matrix
from data_miner_dagster.storage.frames import read_frames
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, set_detection, set_stage
from data_miner_dagster_tests.support.models import PlantedModels
from data_miner_dagster_tests.support.moving_shapes import (
    CROSSING,
    FRAME_RATE,
    SHAPES,
    CarelessDetector,
    MovingShape,
    add_clip,
    make_shapes_clip,
)

pytestmark = pytest.mark.slow(15)

KEY: Final = "file-a"
THRESHOLD: Final = 0.3
"""The confidence that boxes need in a release, unless a test sets another."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 24)


def planted(root: Path, clip: Path, detector: CarelessDetector, **tracking: Any) -> Platform:
    platform = _opened(root, detector)
    set_detection(platform, tracking=tracking)
    set_stage(platform, ProjectStage.DETECTION_READY)
    add_clip(platform, KEY, clip)
    return platform


def _opened(root: Path, detector: CarelessDetector) -> Platform:
    config = PlatformConfig.model_validate({"extraction": {"every_seconds": 1, "snap_tolerance_seconds": 0}})
    return Platform(config, root, models=PlantedModels(detectors=[detector]))


def boxes_of(platform: Platform) -> list[dict[str, Any]]:
    rows = read_table(platform.layout.detections_table(PROJECT)).to_pylist()
    frames = read_frames(platform.layout, KEY, ["frame_id", "pts_seconds"]).to_pylist()
    seconds = {frame["frame_id"]: frame["pts_seconds"] for frame in frames}
    return [row | {"number": round(seconds[row["frame_id"]] * FRAME_RATE)} for row in rows]


def _corners(row: Mapping[str, Any]) -> list[float]:
    return [row[name] for name in ("x_min", "y_min", "x_max", "y_max")]


def _labels_on(rows: Sequence[Mapping[str, Any]], shape: MovingShape, number: int) -> list[Mapping[str, Any]]:
    """Return the boxes of one shape on one picture that would be in a release."""
    box = shape.box_at(number).astype(np.float32)[None]
    return [
        row
        for row in rows
        if row["number"] == number
        and row["confidence"] >= THRESHOLD
        and row["class_name"] == ("red", "blue")[shape.class_index]
        and iou_matrix(box, np.array([_corners(row)]))[0, 0] >= 0.7
    ]


def _is_there(rows: Sequence[Mapping[str, Any]], number: int, box: np.ndarray) -> bool:
    return any(
        row["number"] == number and row["confidence"] >= THRESHOLD and np.allclose(_corners(row), box, atol=0.02)
        for row in rows
    )


def _num_crossings(shapes: Sequence[MovingShape]) -> int:
    """Return how often two shapes of the same class begin to overlap."""
    num_crossings, meeting = 0, set[tuple[int, int]]()
    for number in range(24 * FRAME_RATE):
        boxes = np.array([shape.box_at(number) for shape in shapes])
        pairs = zip(*np.nonzero(np.triu(iou_matrix(boxes, boxes) >= 0.3, 1)), strict=True)
        now = {(int(a), int(b)) for a, b in pairs if shapes[a].class_index == shapes[b].class_index}
        num_crossings, meeting = num_crossings + len(now - meeting), now
    return num_crossings


@pytest.mark.parametrize(("shapes", "num_crossings"), [(SHAPES, 0), (CROSSING, 3)], ids=["apart", "crossing"])
def test_detect_project__missing_boxes_return_and_phantoms_go(
    tmp_path: Path, shapes: Sequence[MovingShape], num_crossings: int
) -> None:
    """No object takes another's id, even where objects of the same class cross."""
    missing, returned, phantoms, gone, switches = 0, 0, 0, 0, 0
    assert _num_crossings(shapes) == num_crossings
    planted(tmp_path, make_shapes_clip(tmp_path / "clip.mp4", 24, shapes), CarelessDetector(shapes=shapes))
    for seed in range(3):  # the pictures are decoded once and examined by three detectors
        detector = CarelessDetector(seed=seed, fingerprint=str(seed), shapes=shapes)
        platform = _opened(tmp_path, detector)
        set_stage(platform, ProjectStage.DETECTION_READY)
        outcome = detect_project(platform, PROJECT)
        rows = boxes_of(platform)
        last: dict[int, int] = {}
        for number in range(0, 24 * FRAME_RATE, FRAME_RATE):
            for position, shape in enumerate(shapes):
                labels = _labels_on(rows, shape, number)
                if detector.misses_at(number, position):
                    missing, returned = missing + 1, returned + bool(labels)
                    assert all(row["recovered"] and len(row["recovered_from"]) == 2 for row in labels)
                elif labels:
                    assert not labels[0]["recovered"]
                for row in labels[:1]:  # the most confident; another shape may be at almost the same place
                    if row["track_id"] is not None:
                        switches += last.get(position, row["track_id"]) != row["track_id"]
                        last[position] = row["track_id"]
            for _, box, _ in detector.phantoms_at(number):
                phantoms, gone = phantoms + 1, gone + (not _is_there(rows, number, box))
        assert outcome.counts["recovered_boxes"] == sum(row["recovered"] for row in rows)
    assert missing > 60
    assert phantoms > 20
    assert returned / missing >= 0.8
    assert gone / phantoms >= 0.95
    assert switches == 0


def test_detect_project__a_kill_loses_no_picture_and_changes_no_byte(tmp_path: Path, clip: Path) -> None:
    whole = planted(tmp_path / "whole", clip, CarelessDetector(), whole_clip=True)
    detect_project(whole, PROJECT)
    killed = CarelessDetector(dies_at=60)
    platform = planted(tmp_path / "killed", clip, killed, whole_clip=True)
    with pytest.raises(SystemExit):
        detect_project(platform, PROJECT)
    killed.dies_at = None
    pictures = {path: path.stat().st_mtime_ns for path in platform.layout.windows.rglob("*.jpg")}
    detect_project(platform, PROJECT)
    assert {path: path.stat().st_mtime_ns for path in platform.layout.windows.rglob("*.jpg")} == pictures
    resumed_files, whole_files = (
        (
            layout.detections_table(PROJECT),
            layout.tracks_table(PROJECT),
            layout.tracked_frames_table(PROJECT),
            layout.windows_table(KEY),
        )
        for layout in (platform.layout, whole.layout)
    )
    assert [path.read_bytes() for path in resumed_files] == [path.read_bytes() for path in whole_files]
    tracks = read_table(whole.layout.tracks_table(PROJECT)).to_pylist()
    frames = read_table(whole.layout.tracked_frames_table(PROJECT)).to_pylist()
    assert [frame["tracked_frame"] for frame in frames] == list(range(96)), "24 s, a picture every .25 s"
    assert [frame["frame_id"] for frame in frames[:8:4]] == [f"{KEY}/000000", f"{KEY}/000001"]
    stored = {(row["frame_id"], row["track_id"]) for row in boxes_of(whole) if row["track_id"] is not None}
    assert stored == {(row["frame_id"], row["track_id"]) for row in tracks if row["frame_id"] is not None}


def test_detect_project__nothing_is_decoded_or_looked_at_twice(
    tmp_path: Path, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "data_miner_dagster")
    detector = CarelessDetector()
    platform = planted(tmp_path, clip, detector, window_seconds=0.5, keep_windows=False)
    detect_project(platform, PROJECT)
    lines = [line for line in caplog.messages if "has examined" in line]
    assert len(lines) == 1, "one for the frames, and none for each video whose objects are followed"
    assert list(platform.layout.windows.rglob("*.jpg")) == [], "all were looked at"
    assert sorted(detector.numbers) == list(range(0, 475, 5)), "each picture of the grid once, frames among them"
    num_seen, video = detector.num_seen, platform.layout.video_folder(KEY) / "video.mp4"
    video.unlink()
    set_detection(platform, tracking={"window_seconds": 0.5, "keep_windows": False, "min_sightings": 2})
    set_stage(platform, ProjectStage.DETECTION_READY)
    outcome = detect_project(platform, PROJECT)
    assert (detector.num_seen, "videos_not_followed" in outcome.counts) == (num_seen, False)


def test_detect_project__a_video_that_is_gone_keeps_its_boxes_as_they_are(tmp_path: Path, clip: Path) -> None:
    platform = planted(tmp_path, clip, CarelessDetector())
    (platform.layout.video_folder(KEY) / "video.mp4").write_bytes(b"no video at all")
    outcome = detect_project(platform, PROJECT)
    assert outcome.counts["videos_not_followed"] == 1
    rows = boxes_of(platform)
    assert {row["track_id"] for row in rows} == {None}
    assert min(row["confidence"] for row in rows) >= 0.6
    assert detect_project(platform, PROJECT).status is OutcomeStatus.DONE, "it is tried again"


def test_detect_project__without_tracking_the_table_has_no_such_columns(tmp_path: Path, clip: Path) -> None:
    platform = planted(tmp_path, clip, CarelessDetector(), whole_clip=True)
    detect_project(platform, PROJECT)
    set_detection(platform)
    set_stage(platform, ProjectStage.DETECTION_READY)
    detect_project(platform, PROJECT)
    assert read_table(platform.layout.detections_table(PROJECT)).column_names == DETECTIONS_SCHEMA.names
    assert not platform.layout.tracks_table(PROJECT).exists()


def test_detect_project__boxes_without_colours_get_them_from_the_stored_picture(tmp_path: Path, clip: Path) -> None:
    """Boxes of an earlier version, or of frames examined before objects were followed, have no colours."""
    platform = planted(tmp_path, clip, CarelessDetector())
    detect_project(platform, PROJECT)
    tables = platform.layout.detections_table(PROJECT), platform.layout.detected_frames_table(PROJECT)
    expected = [path.read_bytes() for path in tables]
    folders = (platform.layout.detection_parts(PROJECT), platform.layout.window_parts(PROJECT))
    parts = [path for folder in folders for path in folder.rglob("*.boxes.parquet")]
    assert len(parts) == 2
    for path in parts:
        stored = pq.read_table(path)
        assert stored[COLOURS_COLUMN].null_count == 0
        pq.write_table(stored.drop_columns([COLOURS_COLUMN]), path)
    for path in tables:
        path.unlink()
    set_stage(platform, ProjectStage.DETECTION_READY)
    detect_project(platform, PROJECT)
    assert [path.read_bytes() for path in tables] == expected
    for path in (*tables, *platform.layout.windows.rglob("*.jpg")):
        path.unlink()
    set_stage(platform, ProjectStage.DETECTION_READY)
    (platform.layout.video_folder(KEY) / "video.mp4").unlink()
    counts = detect_project(platform, PROJECT).counts
    assert counts["tracks"] > 0, "by motion alone"
    assert "videos_not_followed" not in counts
