"""Pages of questions about the small project of support/sample_project.py."""

import logging
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox
from data_miner_dagster.operations import progress
from data_miner_dagster.operations.reviewing import index
from data_miner_dagster.operations.reviewing.frames import ExaminedFrames, read_examined_frames
from data_miner_dagster.operations.reviewing.review import open_review
from data_miner_dagster.operations.reviewing.shown_frames import ShownFrames
from data_miner_dagster.stages.reviewing.states import BoxState
from data_miner_dagster_tests.support.sample_project import build_project


def test_page__unsure(tmp_path: Path) -> None:
    review = open_review(build_project(tmp_path), "cyclists")
    page = review.page(ReviewQueue.UNSURE)
    (item,) = page.items
    assert (page.num_open, page.next_cursor, item.frame.frame_id) == (1, None, "files-aaa/000001")
    assert item.frame.place == FramePlace("files-aaa", 1.0)
    assert item.frame.video_url == "https://videos.example/files-aaa.mp4#t=1"
    assert [(box.class_name, box.state, box.is_asked) for box in item.frame.boxes] == [
        ("bicycle", BoxState.OBJECT, False),
        ("person", BoxState.UNSURE, True),
    ]
    # (1, 1, 9, 9) as shares of 64 by 48 pixels
    box = (1 / 64, 1 / 48, 9 / 64, 9 / 48)
    assert item.frame.boxes[1].shown == ShownBox("person", box, "lite", "detector", 0.2)


def test_queues__say_how_far_the_reading_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_FIRST_LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    review = open_review(build_project(tmp_path), "cyclists")
    with caplog.at_level(logging.INFO, logger=progress.logger.name):
        review.queues()
        review.queues()  # already prepared, so nothing more is logged
    told = [record.getMessage() for record in caplog.records if record.name == progress.logger.name]
    assert len(told) == 7
    assert told[0] == "review of cyclists: prepared 1 of 7 parts: 14 %", "one part gives no pace yet"
    assert told[1].startswith("review of cyclists: prepared 2 of 7 parts: 29 %, about ")
    assert told[-1] == "review of cyclists: prepared 7 of 7 parts: 100 %"


def test_page__every_question_once_whatever_the_size(tmp_path: Path) -> None:
    review = open_review(build_project(tmp_path), "cyclists")
    for queue, num_questions in ((ReviewQueue.RANDOM, 7), (ReviewQueue.NEAR_THRESHOLD, 6), (ReviewQueue.DUPLICATES, 2)):
        whole = [item.key for item in review.page(queue, size=100).items]
        assert len(set(whole)) == num_questions
        for size in (1, 2, 3):
            keys: list[str] = []
            cursor = None
            while not keys or cursor is not None:
                page = review.page(queue, size=size, cursor=cursor)
                keys += [item.key for item in page.items]
                cursor = page.next_cursor
            assert keys == whole


def test_page__of_a_class_and_a_video(tmp_path: Path) -> None:
    review = open_review(build_project(tmp_path), "cyclists")
    of_class = review.page(ReviewQueue.RANDOM, class_name="bicycle").items
    assert sorted(item.frame.frame_id for item in of_class) == ["files-aaa/000001", "files-ccc/000000"]
    of_video = review.page(ReviewQueue.RANDOM, video_key="files-bbb").items
    assert sorted(item.frame.frame_id for item in of_video) == [f"files-bbb/00000{index}" for index in (1, 2, 3)]
    with pytest.raises(ConfigError, match="'train' is not a class of project 'cyclists'; use one of person, bicycle"):
        review.page(ReviewQueue.RANDOM, class_name="train")
    with pytest.raises(ConfigError, match="start again with the first page"):
        review.page(ReviewQueue.RANDOM, cursor="x")


def test_frame_at__times_that_another_tool_has_rounded(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    frames = ShownFrames(platform, platform.project_config("cyclists").shown)
    assert frames.frame_at(FramePlace("files-aaa", 1.0004)) == "files-aaa/000001"
    assert frames.frame_at(FramePlace("files-aaa", 0.9996)) == "files-aaa/000001"
    assert frames.frame_at(FramePlace("files-aaa", 1.01)) is None
    assert frames.frame_at(FramePlace("files-zzz", 1.0)) is None


def test_page__disagreement_of_an_ensemble(tmp_path: Path) -> None:
    classes: dict[str, list[str]] = {"person": [], "bicycle": []}
    detection = {"classes": classes, "detectors": ["lite-detector", "yolo-world"]}
    review = open_review(build_project(tmp_path, detection=detection), "cyclists")
    # All boxes come from one detector. The most confident box of each frame decides the order: .9, .7, .6, .5.
    assert [(item.frame.frame_id, item.why.split(";")[0]) for item in review.page(ReviewQueue.DISAGREEMENT).items] == [
        ("files-aaa/000001", "bicycle 0.90, threshold 0.30, found by 1 of 2 detectors"),
        ("files-bbb/000001", "person 0.70, threshold 0.30, found by 1 of 2 detectors"),
        ("files-ccc/000000", "bicycle 0.60, threshold 0.30, found by 1 of 2 detectors"),
        ("files-aaa/000003", "person 0.50, threshold 0.30, found by 1 of 2 detectors"),
    ]


def test_page__browsing_by_name(tmp_path: Path) -> None:
    review = open_review(build_project(tmp_path), "cyclists")
    assert [(one.name, one.num_frames) for one in review.classes()] == [("person", 3), ("bicycle", 2)]
    assert [(one.name, one.title, one.num_frames) for one in review.videos()] == [
        ("files-aaa", "Clip aaa", 5),
        ("files-bbb", "Clip bbb", 4),
        ("files-ccc", "Clip ccc", 3),
    ]
    # Nearest to the threshold of .3: .3, then .2 (both boxes of a frame count), then .5.
    assert [item.key for item in review.page(ReviewQueue.BROWSING, class_name="person").items] == [
        "files-bbb/000001",
        "files-aaa/000001",
        "files-aaa/000003",
    ]
    assert [(item.key, item.why) for item in review.page(ReviewQueue.BROWSING, video_key="files-aaa").items] == [
        ("files-aaa/000000", "dropped: black"),
        ("files-aaa/000001", "a candidate for the next release"),
        ("files-aaa/000002", "kept by the filter"),  # a duplicate
        ("files-aaa/000003", "a candidate for the next release"),
        ("files-aaa/000004", "dropped: not similar enough to the prompts"),
    ]
    with pytest.raises(ConfigError, match="neither a class nor a video is given"):
        review.page(ReviewQueue.BROWSING)


def test_page__follows_the_settings_and_the_tables(tmp_path: Path) -> None:
    review = open_review(build_project(tmp_path, through="sourcing"), "cyclists")
    assert [count.num_open for count in review.queues()] == [0] * 7
    build_project(tmp_path)
    assert [item.key for item in review.page(ReviewQueue.UNSURE).items] == ["files-aaa/000001"]
    build_project(tmp_path, releasing={"confidence_threshold": 0.65})
    # Four frames have one unsure box each and each class has one object left, so the distance to the threshold decides.
    # The boxes have confidences of .6, .5, .3 and .2.
    keys = [item.key for item in review.page(ReviewQueue.UNSURE).items]
    assert keys == ["files-ccc/000000", "files-aaa/000003", "files-bbb/000001", "files-aaa/000001"]


def test_page__a_table_that_vanishes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = build_project(tmp_path)
    review = open_review(platform, "cyclists")
    detections = platform.layout.detections_table("cyclists")

    def read_too_late(*arguments: Any) -> ExaminedFrames:
        detections.unlink(missing_ok=True)  # as a repair may, after the folder is checked and before the table is read
        return read_examined_frames(*arguments)

    monkeypatch.setattr(index, "read_examined_frames", read_too_late)
    assert review.page(ReviewQueue.UNSURE).items == ()  # as if detection had not run
    assert len(review.page(ReviewQueue.DUPLICATES).items) == 2
    gone = build_project(tmp_path / "other")
    review = open_review(gone, "cyclists")
    review.queues()
    gone.layout.filtered_table("cyclists").unlink()
    item = review.item(ReviewQueue.BROWSING, "files-aaa/000004")
    assert item is None or item.why == "not filtered yet"
