"""Releases of frames with unsure boxes, and how verdicts on boxes change them."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.verdicts import add_verdicts, undo_verdict
from data_miner_dagster.domain.box_shares import BoxXyxy, shares_of
from data_miner_dagster.domain.errors import NothingToReleaseError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster.export.coco import annotation_file, read_coco
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.waiting import num_waiting_now
from data_miner_dagster.operations.reporting.funnel import FunnelStep, project_funnel
from data_miner_dagster.stages.releasing import FrameOutcome
from data_miner_dagster_tests.operations.releasing.release_folders import release_folder
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

UNSURE_BOX: BoxXyxy = (1.0, 1.0, 9.0, 9.0)  # a person at 0.2 on frame 1 of files-aaa, beside a bicycle at 0.9
BICYCLE: BoxXyxy = (4.0, 6.0, 40.0, 30.0)


def said(
    word: str, box: BoxXyxy | None = None, name: str = "person", *, frame: str = "files-aaa/000001", **parts: Any
) -> Verdict:
    """Return a verdict on a frame of the sample project, by default on the frame with the unsure box."""
    video_key, _, index = frame.partition("/")
    share = None if box is None else shares_of(box, (64, 48))
    return Verdict(
        answer_id=f"answer-{word}-{index}-{name}",
        word=VerdictWord(word),
        place=FramePlace(video_key, float(index)),
        frame_id=frame,
        queue=ReviewQueue.UNSURE,
        who="ann",
        given_at=utc_now(),
        shown=None if share is None else ShownBox(name, share),
        **parts,
    )


def manifest_of(platform: Platform) -> dict[str, Any]:
    row = find_project(platform.database, "cyclists")
    assert row is not None
    content = json.loads((release_folder(platform, row.released_version or "") / "release.json").read_text())
    assert isinstance(content, dict)
    return content


def boxes_of(platform: Platform, frame_id: str) -> pd.DataFrame:
    boxes = pd.read_parquet(release_folder(platform, manifest_of(platform)["version"]) / "data" / "boxes.parquet")
    return boxes[boxes["frame_id"] == frame_id]


def test_hold__the_frame_waits_and_the_funnel_adds_up(tmp_path: Path) -> None:
    platform = build_project(tmp_path, releasing={"unsure": "hold", "include_frames_without_boxes": False})
    outcome = release_project(platform, "cyclists")
    assert (outcome.counts["images"], outcome.counts["waiting for review"]) == (3, 1)
    manifest = manifest_of(platform)
    assert manifest["frames"] == {
        "looked_at": 7,
        "released": 3,
        "held": 1,
        "without_boxes": 3,
        "left_out": 0,
        "not_chosen": 0,
    }
    funnel = project_funnel(platform, "cyclists")
    settled, released = funnel[FunnelStep.SETTLED], funnel[FunnelStep.RELEASED_IMAGES]
    assert (settled.count, settled.lost) == (6, {"waiting for review (an unsure box)": 1})
    assert (released.count, released.lost) == (3, {"without boxes": 3})
    assert funnel[FunnelStep.DETECTED].count == 7
    assert boxes_of(platform, "files-aaa/000001").empty
    datasheet = (release_folder(platform) / "datasheet.md").read_text()
    assert "1 of 7 frames wait for review" in datasheet
    assert "Images without any detection: 0." in datasheet  # frames without a box are excluded here


def waiting_now(platform: Platform) -> int:
    row = find_project(platform.database, "cyclists")
    assert row is not None
    return num_waiting_now(platform, row)


def test_num_waiting_now__counts_answers_before_the_next_release_and_after(tmp_path: Path) -> None:
    platform = build_project(tmp_path, releasing={"unsure": "hold"})
    assert waiting_now(platform) == 0  # no release yet
    release_project(platform, "cyclists")
    assert waiting_now(platform) == 1
    add_verdicts(platform.database, "cyclists", [said("right", BICYCLE, "bicycle")])
    assert waiting_now(platform) == 1  # the unsure box has no answer yet
    unsure = said("right", UNSURE_BOX)
    add_verdicts(platform.database, "cyclists", [unsure])
    assert waiting_now(platform) == 0
    undo_verdict(platform.database, "cyclists", unsure.answer_id, who="ann")
    assert waiting_now(platform) == 1
    complete = replace(said("complete"), given_at=utc_now() - timedelta(days=30))  # imported long after it was given
    add_verdicts(platform.database, "cyclists", [complete])
    assert waiting_now(platform) == 0
    release_project(platform, "cyclists")
    assert (manifest_of(platform)["frames"]["held"], waiting_now(platform)) == (0, 0)
    undo_verdict(platform.database, "cyclists", complete.answer_id, who="ann")
    assert waiting_now(platform) == 1


def test_num_waiting_now__is_that_of_the_release_where_it_cannot_be_judged(tmp_path: Path) -> None:
    platform = build_project(tmp_path, releasing={"unsure": "hold"})
    release_project(platform, "cyclists")
    gone = replace(said("complete", frame="files-zzz/000001"), answer_id="of a deleted video")
    add_verdicts(platform.database, "cyclists", [said("right", UNSURE_BOX), gone])
    assert waiting_now(platform) == 0
    platform.layout.detections_table("cyclists").rename(tmp_path / "elsewhere")  # as if it were being rewritten
    assert waiting_now(platform) == 1
    (tmp_path / "elsewhere").rename(platform.layout.detections_table("cyclists"))
    platform.layout.release_inputs("cyclists", "v001").unlink()  # as in a release by an earlier version
    assert waiting_now(platform) == 1


@pytest.mark.parametrize("policy", ["hold", "as_negative"])
def test_release__frames_of_a_silent_detector_are_counted_apart(tmp_path: Path, policy: str) -> None:
    platform = build_project(tmp_path, releasing={"unsure": policy})
    release_project(platform, "cyclists")
    assert manifest_of(platform)["num_images_without_detections"] == 3
    assert "Images without any detection: 3." in (release_folder(platform) / "datasheet.md").read_text()


def test_hold__many_frames_are_a_warning_with_its_remedy(tmp_path: Path) -> None:
    unsure = [("person", 0.2, UNSURE_BOX)]
    videos = [SampleVideo("files-aaa", num_frames=4, boxes={0: unsure}), SampleVideo("files-bbb", num_frames=1)]
    platform = build_project(tmp_path / "some", videos=videos, releasing={"unsure": "hold"})
    assert "warning" not in release_project(platform, "cyclists").metadata  # one fifth of the frames is not too many
    assert project_funnel(platform, "cyclists").waiting_warning is None
    videos = [SampleVideo("files-aaa", num_frames=3, boxes={0: unsure}), SampleVideo("files-bbb", num_frames=1)]
    platform = build_project(tmp_path / "many", videos=videos, releasing={"unsure": "hold"})
    warning = str(release_project(platform, "cyclists").metadata["warning"])
    assert warning.startswith("1 of 4 frames (25%) is waiting for review because of an unsure box: review them")
    assert "`data-miner review cyclists`" in warning
    assert project_funnel(platform, "cyclists").waiting_warning == warning
    assert warning in (release_folder(platform) / "datasheet.md").read_text()


def test_hold__all_frames_wait(tmp_path: Path) -> None:
    videos = [SampleVideo("files-aaa", num_frames=2, boxes={index: [("person", 0.2, UNSURE_BOX)] for index in (0, 1)})]
    platform = build_project(tmp_path, videos=videos, releasing={"unsure": "hold"})
    with pytest.raises(
        NothingToReleaseError, match=r"2 of 2 frames \(100%\) are waiting for review.*data-miner review cyclists"
    ):
        release_project(platform, "cyclists")


def test_ignore_regions__unsure_boxes_are_no_labels(tmp_path: Path) -> None:
    platform = build_project(tmp_path, releasing={"unsure": "ignore_regions"})
    outcome = release_project(platform, "cyclists")
    assert (outcome.counts["images"], outcome.counts["boxes"], outcome.counts["waiting for review"]) == (7, 5, 0)
    found = boxes_of(platform, "files-aaa/000001")
    assert list(zip(found["class_name"], found["is_unsure"], strict=True)) == [("bicycle", False), ("person", True)]
    coco = read_coco(annotation_file(release_folder(platform), "all"))
    assert sorted(annotation["iscrowd"] for annotation in coco.dataset["annotations"]) == [0, 0, 0, 0, 0, 1]
    (label,) = release_folder(platform).glob("labels/*/files-aaa_000001.txt")
    assert len(label.read_text().splitlines()) == 1
    assert "1 of them have `iscrowd: 1`" in (release_folder(platform) / "datasheet.md").read_text()


def test_as_negative__is_said(tmp_path: Path) -> None:
    platform = build_project(tmp_path, releasing={"unsure": "as_negative"})
    assert release_project(platform, "cyclists").counts["images"] == 7
    assert "training treats objects in them as background" in (release_folder(platform) / "datasheet.md").read_text()


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (said("right", UNSURE_BOX), [("bicycle", 0.9, None), ("person", 0.2, "right")]),
        (said("wrong", UNSURE_BOX), [("bicycle", 0.9, None)]),
        (said("complete"), [("bicycle", 0.9, None)]),
        (
            said("other_class", UNSURE_BOX, new_class_name="bicycle"),
            [("bicycle", 0.9, None), ("bicycle", 0.2, "other_class")],
        ),
    ],
)
def test_verdicts__release_the_frame_that_waited(
    tmp_path: Path, verdict: Verdict, expected: list[tuple[str, float, str | None]]
) -> None:
    platform = build_project(tmp_path, releasing={"unsure": "hold"})
    release_project(platform, "cyclists")
    add_verdicts(platform.database, "cyclists", [verdict])
    outcome = release_project(platform, "cyclists")
    assert (outcome.metadata["version"], outcome.counts["waiting for review"]) == ("v002", 0)
    found = boxes_of(platform, "files-aaa/000001")
    words = [None if pd.isna(word) else word for word in found["verdict"]]
    assert list(zip(found["class_name"], found["confidence"], words, strict=True)) == expected
    assert release_project(platform, "cyclists").status is OutcomeStatus.REUSED


def test_verdicts__a_drawn_box_and_a_moved_one(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    moved = said("shifted", BICYCLE, "bicycle", new_box=shares_of((20.0, 6.0, 60.0, 30.0), (64, 48)))
    drawn = said("missing", (32.0, 12.0, 48.0, 36.0), frame="files-bbb/000002")
    lost = said("wrong", (50.0, 40.0, 60.0, 47.0), frame="files-ccc/000000")
    add_verdicts(platform.database, "cyclists", [moved, drawn, lost])
    release_project(platform, "cyclists")
    (box,) = boxes_of(platform, "files-aaa/000001").to_dict("records")
    assert (box["x_min"], box["y_min"], box["x_max"], box["y_max"]) == (20.0, 6.0, 60.0, 30.0)
    assert (box["detector"], box["confidence"], box["answer_id"]) == ("lite", 0.9, moved.answer_id)
    (box,) = boxes_of(platform, "files-bbb/000002").to_dict("records")
    assert (box["x_min"], box["y_min"], box["x_max"], box["y_max"]) == (32.0, 12.0, 48.0, 36.0)
    assert (box["detector"], box["confidence"], box["num_agreeing_detectors"]) == ("person", 1.0, 0)
    manifest = manifest_of(platform)
    assert manifest["verdicts"] == {
        "in_force": 3,
        "on_frames": 3,
        "boxes": {"missing": 1, "shifted": 1},
        "unmet": [lost.answer_id],
    }
    assert "People gave 3 verdicts" in (release_folder(platform) / "datasheet.md").read_text()
    annotations = read_coco(annotation_file(release_folder(platform), "all")).dataset["annotations"]
    assert sorted(of["answer_id"] for of in annotations if "answer_id" in of) == [drawn.answer_id, moved.answer_id]


def test_verdicts__undone_gives_the_release_from_before(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    verdict = said("wrong", BICYCLE, "bicycle")
    add_verdicts(platform.database, "cyclists", [verdict])
    assert release_project(platform, "cyclists").counts["boxes"] == 4
    undo_verdict(platform.database, "cyclists", verdict.answer_id, who="ann")
    outcome = release_project(platform, "cyclists")
    assert (outcome.metadata["version"], outcome.counts["boxes"]) == ("v001", 5)


def test_verdicts__on_frames_that_no_release_looks_at_make_no_version(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    dropped, duplicate = "files-aaa/000004", "files-aaa/000002"
    for frame, word in ((dropped, "missing"), (duplicate, "missing"), ("files-zzz/000001", "wrong")):
        add_verdicts(platform.database, "cyclists", [said(word, BICYCLE, "bicycle", frame=frame)])
        assert release_project(platform, "cyclists").status is OutcomeStatus.REUSED
    add_verdicts(platform.database, "cyclists", [said("missing", UNSURE_BOX, "bicycle", frame="files-aaa/000003")])
    outcome = release_project(platform, "cyclists")
    assert (outcome.metadata["version"], outcome.counts["boxes"]) == ("v002", 6)
    assert manifest_of(platform)["verdicts"]["in_force"] == 1


def test_frame_outcomes__are_stored_by_these_words() -> None:
    assert [outcome.value for outcome in FrameOutcome] == [
        "released",
        "held",
        "without_boxes",
        "left_out",
        "not_chosen",
        "between_blocks",
    ]
