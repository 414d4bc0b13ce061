"""Test detection of one project by several processes at the same time: 130 frames in batches of two, in 13 shards."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from data_miner_dagster.catalog.claims import live_claims
from data_miner_dagster.catalog.measurements import spent_by_stage
from data_miner_dagster.catalog.shards import end_sharing, find_plan, num_open_shards
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, OutcomeStatus, RgbImage
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.detection.shares import join_detection
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.operations.detection.planted_boxes import planted, table_bytes
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, ColourDetector, platform_of, set_detection

NUM_FRAMES = 129
"""The number of frames of the first video; the second video adds one representative.

The frames are divided into batches 0 to 64, and these into shards of 16, 13, 9, 7, ... batches.
"""
WORKER = [sys.executable, "-m", "data_miner_dagster_tests.operations.detection.joining_worker"]


class BusyDetector(ColourDetector):
    """Calls `meanwhile` when it reaches a chosen batch."""

    def __init__(self, meanwhile: Callable[[], object], at_batch: int = 0) -> None:
        super().__init__()
        self._meanwhile = meanwhile
        self._at_batch = at_batch

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the boxes, after a call of `meanwhile` at the chosen batch."""
        if len(self.batch_sizes) == self._at_batch:
            self._meanwhile()
        return super().detect(images, classes, confidence_floor=confidence_floor)


def undisturbed(root: Path) -> tuple[bytes, bytes]:
    platform = planted(root, num_frames=NUM_FRAMES)
    detect_project(platform, PROJECT)
    return table_bytes(platform)


def nothing_is_left(platform: Platform) -> bool:
    return find_plan(platform.database, WorkStage.DETECTION, PROJECT) is None and live_claims(platform.database) == []


def test_look_at_unseen__two_processes_make_the_bytes_of_one(tmp_path: Path) -> None:
    made: list[str] = []

    def join() -> None:
        made.append(subprocess.run([*WORKER, tmp_path / "shared"], check=True, capture_output=True, text=True).stdout)

    detector = BusyDetector(join)
    platform = planted(tmp_path / "shared", detector, num_frames=NUM_FRAMES)
    assert detect_project(platform, PROJECT).counts["frames"] == 130
    assert made == ["12\n"]
    assert detector.batch_sizes == [2] * 16  # those of one shard; the other process examined the other shards
    assert nothing_is_left(platform)
    spent = spent_by_stage(platform.database, PROJECT)[WorkStage.DETECTION]
    assert (spent.num_items, spent.num_frames) == (1, 130)  # by both processes together, with each frame counted once
    assert table_bytes(platform) == undisturbed(tmp_path / "alone")
    assert detect_project(platform, PROJECT).status is OutcomeStatus.REUSED


def test_look_at_unseen__a_process_that_is_killed_loses_no_more_than_its_shard(tmp_path: Path) -> None:
    def join_and_die() -> None:
        with subprocess.Popen([*WORKER, tmp_path / "shared", "20"], stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "held\n"  # after seven batches of its second shard
            worker.send_signal(signal.SIGKILL)

    detector = BusyDetector(join_and_die)
    platform = planted(tmp_path / "shared", detector, num_frames=NUM_FRAMES)
    assert detect_project(platform, PROJECT).counts["frames"] == 130
    assert detector.batch_sizes == [2] * (65 - 13)  # all except the one shard that the worker had finished
    assert nothing_is_left(platform)
    assert table_bytes(platform) == undisturbed(tmp_path / "alone")


def test_look_at_unseen__the_parts_of_a_shard_that_was_cut_off_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_miner_dagster.operations.detection.runs.PART_FRAMES", 8)
    detector = ColourDetector()
    platform = planted(tmp_path / "shared", detector, num_frames=NUM_FRAMES)
    detector.dies_at_batch, detector.dies_of = 16 + 6, KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        detect_project(platform, PROJECT)
    plan = find_plan(platform.database, WorkStage.DETECTION, PROJECT)
    assert plan is not None
    assert num_open_shards(platform.database, plan) == 12
    detector.dies_at_batch = None
    assert detect_project(platform, PROJECT).counts["frames"] == 130
    # of the six batches after the first shard, a part of four was stored
    assert len(detector.batch_sizes) == 22 + (65 - 16 - 4)
    assert nothing_is_left(platform)
    assert table_bytes(platform) == undisturbed(tmp_path / "alone")


def test_join_detection__a_frame_that_cannot_be_read_is_its_own_outcome(tmp_path: Path) -> None:
    def lose_frames(platform: Platform) -> None:
        platform.layout.frame_path("files-a", "000040.jpg").unlink()
        platform.layout.frame_path("files-a", "000100.jpg").write_bytes(b"torn")

    made: list[int] = []
    root = tmp_path / "shared"
    detector = BusyDetector(lambda: made.append(join_detection(platform_of(root), PROJECT, may_go_on=lambda: True)))
    platform = planted(root, detector, num_frames=NUM_FRAMES)
    lose_frames(platform)
    counts = detect_project(platform, PROJECT).counts
    assert (counts["frames"], counts["unreadable_frames"], made) == (128, 2, [12])
    alone = planted(tmp_path / "alone", num_frames=NUM_FRAMES)
    lose_frames(alone)
    detect_project(alone, PROJECT)
    assert table_bytes(platform) == table_bytes(alone)


def test_join_detection__makes_what_is_left_without_the_run_that_led(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector, num_frames=NUM_FRAMES)
    detector.dies_at_batch, detector.dies_of = 0, KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        detect_project(platform, PROJECT)
    detector.dies_at_batch = None
    may_go_on = iter([True, True, False])
    assert join_detection(platform, PROJECT, may_go_on=lambda: next(may_go_on)) == 2
    assert join_detection(platform, PROJECT, may_go_on=lambda: True) == 11
    assert detector.batch_sizes == [2] * 65
    assert detect_project(platform, PROJECT).counts["frames"] == 130
    assert detector.batch_sizes == [2] * 65


def test_join_detection__publishes_nothing_for_a_plan_that_has_ended(tmp_path: Path) -> None:
    platform = planted(tmp_path, num_frames=NUM_FRAMES)
    leader = BusyDetector(lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        detect_project(platform_of(tmp_path, leader), PROJECT)
    joins = BusyDetector(lambda: end_sharing(platform.database, WorkStage.DETECTION, PROJECT), at_batch=20)
    assert join_detection(platform_of(tmp_path, joins), PROJECT, may_go_on=lambda: True) == 1
    (folder,) = platform.layout.detection_parts(PROJECT).iterdir()
    assert len(list(folder.glob("*.frames.parquet"))) == 1
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
    assert live_claims(platform.database) == []


def test_join_detection__leaves_other_settings_alone(tmp_path: Path) -> None:
    platform = planted(tmp_path, num_frames=NUM_FRAMES)
    assert join_detection(platform, PROJECT, may_go_on=lambda: True) == 0  # no detection is being shared
    leader = BusyDetector(lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        detect_project(platform_of(tmp_path, leader), PROJECT)
    set_detection(platform, classes={"sky": ["blue"]}, batch_size=2)
    assert join_detection(platform, PROJECT, may_go_on=lambda: True) == 0
    detector = ColourDetector()
    assert detect_project(platform_of(tmp_path, detector), PROJECT).counts["frames"] == 130  # divided into new shards
    assert len(detector.batch_sizes) == 65
    assert nothing_is_left(platform)
