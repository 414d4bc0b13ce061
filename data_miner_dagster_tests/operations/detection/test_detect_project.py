import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.domain.errors import ConfigError, NotReadyError
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.detection import detect_project as detect_project_module
from data_miner_dagster.operations.detection.check import check_boxes
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.left_out import read_left_out
from data_miner_dagster.storage.tables import MADE_FROM_KEY, read_fingerprint, read_metadata, read_table
from data_miner_dagster_tests.operations.detection.planted_boxes import BLUE, RED, planted, stage, table_bytes
from data_miner_dagster_tests.support.catalog import place_catalog
from data_miner_dagster_tests.support.coloured_shapes import (
    PROJECT,
    ColourDetector,
    plant_deduplicated,
    plant_frames,
    plant_project,
    platform_of,
    set_detection,
    set_stage,
)


def test_detect_project__no_frames(tmp_path: Path) -> None:
    platform = plant_project(tmp_path)
    plant_deduplicated(platform, {}, duplicates={})
    outcome = detect_project(platform, PROJECT)
    assert outcome.status is OutcomeStatus.DONE
    assert outcome.counts == {"frames": 0, "frames_with_boxes": 0, "boxes": 0, "boxes:red": 0, "boxes:blue": 0}
    assert stage(platform) is ProjectStage.RELEASING_READY


def test_detect_project__not_deduplicated_yet(tmp_path: Path) -> None:
    platform = plant_project(tmp_path)
    with pytest.raises(NotReadyError, match="has no deduplicated_frames yet"):
        detect_project(platform, PROJECT)
    assert stage(platform) is ProjectStage.DETECTION_READY


def test_detect_project__boxes_of_representatives(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector)
    outcome = detect_project(platform, PROJECT)
    assert outcome.counts == {"frames": 4, "frames_with_boxes": 3, "boxes": 4, "boxes:red": 2, "boxes:blue": 2}
    assert list(outcome.counts) == ["frames", "frames_with_boxes", "boxes", "boxes:red", "boxes:blue"]
    rows = read_table(platform.layout.detections_table(PROJECT)).to_pylist()
    assert [(row["frame_id"], row["class_name"]) for row in rows] == [
        ("files-a/000000", "red"),
        ("files-a/000001", "red"),
        ("files-a/000001", "blue"),
        ("files-b/000000", "blue"),
    ]
    assert [rows[0][name] for name in ("x_min", "y_min", "x_max", "y_max")] == [8, 8, 24, 32]
    assert rows[0]["confidence"] == pytest.approx(1 / 8, abs=0.01)
    assert (rows[0]["detector"], rows[0]["prompt"], rows[0]["num_agreeing_detectors"]) == ("colours", "red", 1)
    frames = read_table(platform.layout.detected_frames_table(PROJECT)).to_pylist()
    assert [(row["frame_id"], row["num_boxes"]) for row in frames] == [
        ("files-a/000000", 1),
        ("files-a/000001", 2),
        ("files-a/000002", 0),
        ("files-b/000000", 1),
    ]
    for table in (platform.layout.detections_table(PROJECT), platform.layout.detected_frames_table(PROJECT)):
        assert read_metadata(table)[MADE_FROM_KEY] == read_fingerprint(platform.layout.deduplicated_table(PROJECT))
        assert read_fingerprint(table) == outcome.fingerprint
    assert detector.batch_sizes == [2, 2]
    assert stage(platform) is ProjectStage.RELEASING_READY


def test_detect_project__again_does_nothing(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector)
    first = detect_project(platform, PROJECT)
    set_stage(platform, ProjectStage.COMPLETE)
    second = detect_project(platform, PROJECT)
    assert (first.status, second.status) == (OutcomeStatus.DONE, OutcomeStatus.REUSED)
    assert second.counts == first.counts
    assert second.fingerprint == first.fingerprint
    assert detector.batch_sizes == [2, 2]
    assert stage(platform) is ProjectStage.COMPLETE


def test_detect_project__killed_between_files_and_row(tmp_path: Path) -> None:
    platform = planted(tmp_path)
    detect_project(platform, PROJECT)
    set_stage(platform, ProjectStage.DETECTION_READY)
    assert detect_project(platform, PROJECT).status is OutcomeStatus.REUSED
    assert stage(platform) is ProjectStage.RELEASING_READY


def test_detect_project__only_new_frames_are_looked_at(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path / "grown", detector)
    plant_deduplicated(platform, {"files-a": [0, 1]}, duplicates={"files-b": [0, 1]})
    assert detect_project(platform, PROJECT).counts["frames"] == 2
    plant_deduplicated(platform, {"files-a": [0, 1, 2], "files-b": [0]}, duplicates={"files-b": [1]})
    assert detect_project(platform, PROJECT).counts["frames"] == 4
    assert detector.batch_sizes == [2, 2]
    at_once = planted(tmp_path / "at_once")
    detect_project(at_once, PROJECT)
    assert table_bytes(platform) == table_bytes(at_once)


def test_detect_project__fewer_frames_and_back(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector)
    detect_project(platform, PROJECT)
    before = table_bytes(platform)
    plant_deduplicated(platform, {"files-a": [1]}, duplicates={"files-b": [1]})
    assert detect_project(platform, PROJECT).counts["boxes"] == 2
    plant_deduplicated(platform, {"files-a": [0, 1, 2], "files-b": [0]}, duplicates={"files-b": [1]})
    detect_project(platform, PROJECT)
    assert table_bytes(platform) == before
    assert detector.batch_sizes == [2, 2]


def test_detect_project__another_class_list_looks_again(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector)
    detect_project(platform, PROJECT)
    set_detection(platform, classes={"sky": ["blue"]}, batch_size=3)
    assert detect_project(platform, PROJECT).counts == {
        "frames": 4,
        "frames_with_boxes": 2,
        "boxes": 2,
        "boxes:sky": 2,
    }
    assert detector.batch_sizes == [2, 2, 3, 1]
    assert len(list(platform.layout.detection_parts(PROJECT).iterdir())) == 1


def test_detect_project__another_batch_size_does_not(tmp_path: Path) -> None:
    platform = planted(tmp_path)
    detect_project(platform, PROJECT)
    set_detection(platform, batch_size=7)
    assert detect_project(platform, PROJECT).status is OutcomeStatus.REUSED


def test_detect_project__another_detector_looks_again(tmp_path: Path) -> None:
    detect_project(planted(tmp_path), PROJECT)
    newer = ColourDetector(fingerprint="2")
    assert detect_project(platform_of(tmp_path, newer), PROJECT).status is OutcomeStatus.DONE
    assert newer.batch_sizes == [2, 2]


def test_detect_project__force_looks_again(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector)
    detect_project(platform, PROJECT)
    before = table_bytes(platform)
    assert detect_project(platform, PROJECT, force=True).status is OutcomeStatus.DONE
    assert table_bytes(platform) == before
    assert detector.batch_sizes == [2, 2, 2, 2]


def test_detect_project__resumes_at_the_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_miner_dagster.operations.detection.runs.PART_FRAMES", 4)
    detector = ColourDetector()
    platform = planted(tmp_path / "killed", detector, num_frames=9)  # 10 frames in 5 batches and parts of 2 batches
    detector.dies_at_batch = 3
    with pytest.raises(RuntimeError, match="lost power"):
        detect_project(platform, PROJECT)
    assert stage(platform) is ProjectStage.FAILED
    project = find_project(platform.database, PROJECT)
    assert project is not None
    assert project.error is not None
    assert re.fullmatch(
        r"detection: RuntimeError: the machine lost power \(operations/detection/runs\.py:\d+\)", project.error
    )
    assert not platform.layout.detections_table(PROJECT).exists()
    detector.dies_at_batch = None
    assert detect_project(platform, PROJECT).counts["frames"] == 10
    assert detector.batch_sizes == [2] * 3 + [2] * 3  # the third batch was lost, but the first two were not
    undisturbed = planted(tmp_path / "undisturbed", num_frames=9)
    detect_project(undisturbed, PROJECT)
    assert table_bytes(platform) == table_bytes(undisturbed)


def test_detect_project__interrupted_it_waits_for_detection_again(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector)
    detector.dies_at_batch, detector.dies_of = 1, KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        detect_project(platform, PROJECT)
    project = find_project(platform.database, PROJECT)
    assert project is not None
    assert (project.stage, project.error) == (ProjectStage.DETECTION_READY, None)
    detector.dies_at_batch = None
    assert detect_project(platform, PROJECT).counts["frames"] == 4


def test_detect_project__unreadable_frames_are_counted_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    platform = planted(tmp_path)
    missing = platform.layout.frame_path("files-a", "000000.jpg")
    content = missing.read_bytes()
    missing.unlink()
    truncated = platform.layout.frame_path("files-a", "000001.jpg")
    truncated_content = truncated.read_bytes()
    truncated.write_bytes(truncated_content[:400])
    outcome = detect_project(platform, PROJECT)
    assert (outcome.counts["frames"], outcome.counts["unreadable_frames"]) == (2, 2)
    assert f"{missing} is missing; run `data-miner backfill --asset frames" in caplog.text
    missing.write_bytes(content)
    truncated.write_bytes(truncated_content)
    outcome = detect_project(platform, PROJECT)
    assert outcome.status is OutcomeStatus.DONE
    assert outcome.counts["frames"] == 4
    assert "unreadable_frames" not in outcome.counts
    assert detect_project(platform, PROJECT).status is OutcomeStatus.REUSED


def test_detect_project__frames_extracted_anew_are_looked_at_again(tmp_path: Path) -> None:
    platform = planted(tmp_path)
    detect_project(platform, PROJECT)
    plant_frames(platform, "files-a", [[BLUE], [RED, BLUE], []])
    plant_deduplicated(platform, {"files-a": [0, 1, 2]}, duplicates={"files-b": [0, 1]})
    outcome = detect_project(platform, PROJECT)
    assert outcome.counts["boxes:blue"] == 2
    assert outcome.counts["boxes:red"] == 1


def test_detect_project__deduplicated_table_older_than_frames(tmp_path: Path) -> None:
    platform = planted(tmp_path)
    plant_frames(platform, "files-a", [[BLUE]])
    counts = detect_project(platform, PROJECT).counts
    assert (counts["frames"], counts["unreadable_frames"], counts["left_out_videos"]) == (1, 3, 1)
    (line,) = read_left_out(platform.layout.detected_frames_table(PROJECT)).values()
    assert "because the frames were extracted again" in line


def test_detect_project__unknown_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="project 'other' does not exist"):
        detect_project(plant_project(tmp_path), "other")


def test_detect_project__ensemble_of_two(tmp_path: Path) -> None:
    exact, loose = ColourDetector("exact"), ColourDetector("loose", fingerprint="2", grow=4.0)
    platform = planted(tmp_path, exact, loose)
    set_detection(platform, detectors=["exact", "loose"], batch_size=2)
    outcome = detect_project(platform, PROJECT)
    assert outcome.metadata["detectors"] == "exact, loose"
    rows = read_table(platform.layout.detections_table(PROJECT)).to_pylist()
    red = rows[0]
    # Both detectors find the 16 x 24 rectangle with the same confidence; one box is 4 pixels too large, the mean 2.
    assert [red[name] for name in ("x_min", "y_min", "x_max", "y_max")] == [8, 8, 26, 34]
    assert (red["num_agreeing_detectors"], red["detector"]) == (2, "exact+loose")
    # The 8 x 8 square overlaps its enlarged twin by only 64 / 144, so they do not count as the same object.
    assert [row["num_agreeing_detectors"] for row in rows if row["class_name"] == "blue"] == [1, 1, 1, 1]


def test_detect_project__masks_through_parts_and_fusion(tmp_path: Path) -> None:
    loose = ColourDetector("loose", grow=3.0)
    exact = ColourDetector("exact", fingerprint="2", gives_masks=True)
    platform = planted(tmp_path, loose, exact)
    set_detection(platform, detectors=["loose", "exact"], batch_size=2, fusion_iou=0.5)
    detect_project(platform, PROJECT)
    rows = read_table(platform.layout.detections_table(PROJECT)).to_pylist()
    red = next(row for row in rows if row["class_name"] == "red")
    mask = Mask.from_coco(red["mask"])
    assert (mask.resolution_wh, mask.bounds_xyxy, mask.area) == ((64, 48), (8, 8, 24, 32), 16 * 24)
    # the bounds of the mask, not the mean with the box that is 3 pixels too large
    assert [red[name] for name in ("x_min", "y_min", "x_max", "y_max")] == [8, 8, 24, 32]
    assert red["num_agreeing_detectors"] == 2
    assert check_boxes(platform, PROJECT).holds
    first = table_bytes(platform)
    detect_project(platform, PROJECT, force=True)
    assert table_bytes(platform) == first


def test_detect_project__large_masks_make_smaller_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = planted(tmp_path, ColourDetector(gives_masks=True))
    path = platform.layout.detections_table(PROJECT)
    detect_project(platform, PROJECT)
    whole = read_table(path)
    assert pq.ParquetFile(path).num_row_groups == 1
    monkeypatch.setattr(detect_project_module, "ROW_GROUP_MASK_BYTES", 1)
    detect_project(platform, PROJECT, force=True)
    assert pq.ParquetFile(path).num_row_groups == 3  # one for each video, and an empty one at the end
    assert read_table(path).equals(whole)


def test_detect_project__settings_of_the_stage_cost_no_model(tmp_path: Path) -> None:
    exact, loose = ColourDetector("exact"), ColourDetector("loose", fingerprint="2", grow=4.0)
    platform = planted(tmp_path, exact, loose)
    set_detection(platform, detectors=["exact", "loose"], batch_size=2)
    before = detect_project(platform, PROJECT).counts["boxes:blue"]
    set_detection(platform, detectors=["exact", "loose"], batch_size=2, fusion_iou=0.4)
    after = detect_project(platform, PROJECT)
    assert after.status is OutcomeStatus.DONE
    assert (before, after.counts["boxes:blue"]) == (4, 2)
    assert exact.batch_sizes == loose.batch_sizes == [2, 2]


def test_detect_project__a_detector_added_runs_alone(tmp_path: Path) -> None:
    exact, loose = ColourDetector("exact"), ColourDetector("loose", fingerprint="2")
    platform = planted(tmp_path, exact, loose)
    detect_project(platform, PROJECT)
    set_detection(platform, detectors=["exact", "loose"], batch_size=2)
    detect_project(platform, PROJECT)
    assert exact.batch_sizes == loose.batch_sizes == [2, 2]


def test_detect_project__agreement_along_the_video(tmp_path: Path) -> None:
    platform = planted(tmp_path)
    plain = detect_project(platform, PROJECT).counts
    confidences = read_table(platform.layout.detections_table(PROJECT))["confidence"].to_pylist()
    set_detection(platform, batch_size=2, agreement_seconds=1.5)
    assert detect_project(platform, PROJECT).counts == plain
    rows = read_table(platform.layout.detections_table(PROJECT)).to_pylist()
    # Red is on two frames a second apart, blue on one of three. The frame of the other video is alone in its video.
    factors = [row["confidence"] / confidence for row, confidence in zip(rows, confidences, strict=True)]
    assert factors == pytest.approx([1, 1, 0.5, 1], abs=0.01)


def test_detect_project__tiles(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector)
    set_detection(platform, batch_size=4, tiling={"side": 64, "overlap": 0.2})
    whole = detect_project(platform, PROJECT)
    assert detector.batch_sizes == [1, 1, 1, 1]  # a frame no larger than a tile is a single tile
    assert whole.counts["boxes"] == 4


KILLED = """
import sys
from pathlib import Path
from data_miner_dagster.operations.detection import detect_project as detection
from data_miner_dagster.operations.detection import runs as detector_runs
from data_miner_dagster_tests.support import coloured_shapes as planted

class Slow(planted.ColourDetector):
    def detect(self, images, classes, *, confidence_floor):
        if len(self.batch_sizes) == 3:
            print("killme", flush=True)
            sys.stdin.read()
        return super().detect(images, classes, confidence_floor=confidence_floor)

detector_runs.PART_FRAMES = 2
detection.detect_project(planted.platform_of(Path(sys.argv[1]), Slow()), planted.PROJECT)
"""


def test_detect_project__killed_with_sigkill(tmp_path: Path, catalog_url: str) -> None:
    detector = ColourDetector()
    place_catalog(tmp_path / "killed", catalog_url)
    platform = planted(tmp_path / "killed", detector, num_frames=9)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "killme"
        process.kill()
    assert stage(platform) is ProjectStage.DETECTION
    assert detect_project(platform, PROJECT).counts["frames"] == 10
    assert detector.batch_sizes == [2, 2]  # three of five batches were stored before the kill
    undisturbed = planted(tmp_path / "undisturbed", num_frames=9)
    detect_project(undisturbed, PROJECT)
    assert table_bytes(platform) == table_bytes(undisturbed)
