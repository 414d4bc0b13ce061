"""Test following objects with a video network and a careless detector, along real clips decoded by the real planner."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ClassPrompts, OutcomeStatus, RgbImage
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tracks import SeenObject
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.trackers.sam3_video import Sam3VideoSession
from data_miner_dagster.operations.detection import sessions
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.detection.not_followed import read_not_followed
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.trackers import VideoTracker
from data_miner_dagster.stages.detection.boxes import iou_matrix
from data_miner_dagster.storage.frames import read_frame_images, read_frames
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, set_detection, set_stage
from data_miner_dagster_tests.support.models import PlantedModels
from data_miner_dagster_tests.support.moving_shapes import (
    FRAME_RATE,
    SHAPES,
    AttentiveSession,
    AttentiveTracker,
    CarelessDetector,
    add_clip,
    make_shapes_clip,
)
from data_miner_dagster_tests.support.tiny_detectors import save_sam3_video

KEY: Final = "file-a"
SECONDS: Final = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", SECONDS)


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> VideoTracker:
    folder = save_sam3_video(tmp_path_factory.mktemp("sam3-video"))
    entry = {"architecture": "sam3", "source": f"file:{folder}"}
    models = ModelsConfig.model_validate({"registry": {"tiny": entry}, "device": "cpu"})
    return ModelProvider(models).video_tracker("tiny").load()


def planted(root: Path, clip: Path, detector: CarelessDetector, tracker: VideoTracker, **tracking: Any) -> Platform:
    config = PlatformConfig.model_validate({"extraction": {"every_seconds": 1, "snap_tolerance_seconds": 0}})
    platform = Platform(config, root, models=PlantedModels(detectors=[detector], trackers=[tracker]))
    set_detection(platform, tracking={"tracker": "sam3", "tracker_model": tracker.name, **tracking})
    set_stage(platform, ProjectStage.DETECTION_READY)
    add_clip(platform, KEY, clip)
    return platform


def stored_files(platform: Platform) -> list[bytes]:
    layout = platform.layout
    tables = [layout.detections_table(PROJECT), layout.tracks_table(PROJECT), layout.tracked_frames_table(PROJECT)]
    parts = sorted(layout.window_parts(PROJECT).rglob("*.parquet"))
    return [path.read_bytes() for path in (*tables, *parts)]


def test_detect_project__what_a_network_has_seen_returns_and_phantoms_go(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SESSION_FRAMES", 11)
    monkeypatch.setattr(sessions, "REPEATED_FRAMES", 3)
    detector, tracker = CarelessDetector(), AttentiveTracker()
    platform = planted(tmp_path, clip, detector, tracker, keep_windows=False)
    outcome = detect_project(platform, PROJECT)
    assert sorted(set(tracker.numbers)) == list(range(0, SECONDS * FRAME_RATE, 5)), "frames, and what is around"
    assert len(tracker.numbers) == 48 + 4 * 3, "each session repeats three"
    assert sorted(detector.numbers) == list(range(0, SECONDS * FRAME_RATE, FRAME_RATE)), "the frames alone"
    frames = read_frames(platform.layout, KEY, ["frame_id", "pts_seconds"]).to_pylist()
    number_by_frame = {frame["frame_id"]: round(frame["pts_seconds"] * FRAME_RATE) for frame in frames}
    rows = read_table(platform.layout.detections_table(PROJECT)).to_pylist()
    num_missing, ids = 0, [set[int]() for _ in SHAPES]
    for frame_id, number in number_by_frame.items():
        on_frame = [row for row in rows if row["frame_id"] == frame_id]
        for position, shape in enumerate(SHAPES):
            is_missing = detector.misses_at(number, position)
            if is_missing and number == 0:
                continue  # no earlier picture shows it
            box = shape.box_at(number)
            (row,) = [row for row in on_frame if np.allclose(_corners(row), box, atol=0.02)]
            ids[position].add(row["track_id"])
            assert row["recovered"] == is_missing
            if is_missing:
                num_missing += 1
                assert np.allclose(Mask.from_coco(row["mask"]).bounds_xyxy or (), box)
                assert row["confidence"] == pytest.approx(0.7)
                assert len(row["recovered_from"]) == 2
        for class_index, box, confidence in detector.phantoms_at(number):
            same = iou_matrix(box[None], np.array([s.box_at(number) for s in SHAPES if s.class_index == class_index]))
            (row,) = [row for row in on_frame if np.allclose(_corners(row), box, atol=0.02)]
            assert same.max() >= 0.5 or row["confidence"] == pytest.approx(confidence / 4, abs=1e-3)
    assert num_missing > 5
    assert all(len(of_shape) == 1 for of_shape in ids), "through all sessions"
    assert outcome.counts["tracks"] == len(SHAPES)
    assert outcome.counts["recovered_boxes"] == num_missing
    tracker.numbers.clear()
    assert detect_project(platform, PROJECT).status is OutcomeStatus.REUSED
    set_detection(
        platform, tracking={"tracker": "sam3", "tracker_model": "attentive", "keep_windows": False, "min_sightings": 2}
    )
    set_stage(platform, ProjectStage.DETECTION_READY)
    (platform.layout.video_folder(KEY) / "video.mp4").unlink()
    assert "videos_not_followed" not in detect_project(platform, PROJECT).counts
    assert tracker.numbers == [], "nothing is looked at twice"


def _corners(row: dict[str, Any]) -> list[float]:
    return [row[name] for name in ("x_min", "y_min", "x_max", "y_max")]


def test_detect_project__a_kill_in_the_middle_of_a_clip_changes_no_byte(
    tmp_path: Path, sam3: VideoTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real class, each session is either complete or starts again from the beginning."""
    monkeypatch.setattr(sessions, "SESSION_FRAMES", 2)
    monkeypatch.setattr(sessions, "REPEATED_FRAMES", 1)
    clip = make_shapes_clip(tmp_path / "short.mp4", 1.5)
    whole = planted(tmp_path / "whole", clip, CarelessDetector(), sam3, whole_clip=True)
    detect_project(whole, PROJECT)
    looks = 0
    look_at = Sam3VideoSession.look_at

    def dies(session: Sam3VideoSession, image: RgbImage) -> list[SeenObject]:
        nonlocal looks
        looks += 1
        if looks == 4:
            raise SystemExit("the machine lost power")
        return look_at(session, image)

    monkeypatch.setattr(Sam3VideoSession, "look_at", dies)
    killed = planted(tmp_path / "killed", clip, CarelessDetector(), sam3, whole_clip=True)
    with pytest.raises(SystemExit):
        detect_project(killed, PROJECT)
    assert len(list(killed.layout.window_parts(PROJECT).rglob("*.frames.parquet"))) == 1
    detect_project(killed, PROJECT)
    assert looks == 4 + 3 + 3, "the first session is not repeated"
    assert stored_files(killed) == stored_files(whole)
    tracks = read_table(whole.layout.tracks_table(PROJECT)).to_pylist()
    stored = [read_table(path).num_rows for path in whole.layout.window_parts(PROJECT).rglob("*.boxes.parquet")]
    assert sum(stored) >= 10
    assert tracks
    assert all(row["mask"] is not None or row["recovered"] for row in tracks if row["frame_id"] is None)


def test_detect_project__a_picture_that_cannot_be_read_leaves_the_boxes_as_they_were(
    tmp_path: Path, clip: Path
) -> None:
    tracker = AttentiveTracker()
    platform = planted(tmp_path, clip, CarelessDetector(), tracker)
    read_frame_images(platform.layout, KEY)[0].file.path.write_bytes(b"no picture")
    outcome = detect_project(platform, PROJECT)
    assert outcome.counts["videos_not_followed"] == 1
    rows = read_table(platform.layout.detections_table(PROJECT)).to_pylist()
    assert {row["track_id"] for row in rows} == {None}
    (reason,) = read_not_followed(platform.layout.detected_frames_table(PROJECT)).values()
    assert "run `data-miner backfill --asset frames" in reason


def test_detect_project__a_neighbour_that_cannot_be_read_is_named_with_its_remedy(tmp_path: Path, clip: Path) -> None:
    platform = planted(tmp_path, clip, CarelessDetector(), AttentiveTracker())
    detect_project(platform, PROJECT)
    folder = platform.layout.windows_folder(KEY)
    max(folder.glob("*.jpg")).unlink()
    assert detect_project(platform, PROJECT, force=True).counts["videos_not_followed"] == 1
    (reason,) = read_not_followed(platform.layout.detected_frames_table(PROJECT)).values()
    remedy = f"remove the folder {folder}, and run `data-miner force-detect PROJECT`"
    assert reason.endswith(remedy)
    shutil.rmtree(folder)  # as the remedy says
    assert "videos_not_followed" not in detect_project(platform, PROJECT, force=True).counts


class _BrokenTracker(AttentiveTracker):
    """Fails on every video."""

    def start(self, classes: Sequence[ClassPrompts]) -> AttentiveSession:
        raise RuntimeError(f"the network has another shape than {len(classes)} classes need")


def test_detect_project__an_internal_fault_of_the_network_leaves_the_boxes_as_they_were(
    tmp_path: Path, clip: Path
) -> None:
    platform = planted(tmp_path, clip, CarelessDetector(), _BrokenTracker())
    outcome = detect_project(platform, PROJECT)
    assert outcome.counts["videos_not_followed"] == 1
    rows = read_table(platform.layout.detections_table(PROJECT)).to_pylist()
    assert {row["track_id"] for row in rows} == {None}
    (reason,) = read_not_followed(platform.layout.detected_frames_table(PROJECT)).values()
    assert "RuntimeError: the network has another shape than 2 classes need" in reason
