"""Frames of a queue are sent to a tool, and a person's corrections are imported from it."""

from pathlib import Path

import pytest

from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.verdicts import ReviewQueue, ShownBox
from data_miner_dagster.export.formats import ROUND_TRIP_FORMATS
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.round_trips import read_shown, shown_folder
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reviewing.round_trips import ReturnedFile, find_sent, import_corrections
from data_miner_dagster.operations.reviewing.sending import send_frames
from data_miner_dagster_tests.support.annotators import ANNOTATORS
from data_miner_dagster_tests.support.sample_project import build_project

BICYCLE = ("bicycle", (4.0, 6.0, 40.0, 30.0))
PERSON = ("person", (1.0, 1.0, 9.0, 9.0))


@pytest.mark.parametrize("tool", ROUND_TRIP_FORMATS)
def test_send_frames__what_is_unsure_is_settled(tmp_path: Path, tool: str) -> None:
    platform = build_project(tmp_path / "root")
    sent = send_frames(platform, "cyclists", tool=tool, queue=ReviewQueue.UNSURE, to=tmp_path / "export")
    assert (sent.num_images, sent.num_boxes) == (1, 2)
    (image,) = read_images(shown_folder(sent.folder))
    assert (image.frame_id, image.pts_seconds) == ("files-aaa/000001", 1.0)
    assert [(box.class_name, box.box_xyxy, box.confidence, box.is_unsure) for box in image.boxes] == [
        (*BICYCLE, 0.9, False),
        (*PERSON, 0.2, True),
    ]
    assert read_shown(sent.folder)[1] == "detector"
    path = ANNOTATORS[tool](sent.folder, {"files-aaa/000001": [BICYCLE]}, tmp_path)
    file = ReturnedFile(path, tool, "ann", all_reviewed=True)
    import_corrections(platform, "cyclists", file, find_sent(platform, "cyclists", path, folder=sent.folder))
    found = [(verdict.word, verdict.shown) for verdict in verdicts_in_force(platform.database, "cyclists")]
    assert found == [
        ("right", ShownBox("bicycle", (0.0625, 0.125, 0.625, 0.625), "lite", "detector", 0.9)),
        ("wrong", ShownBox("person", (0.015625, 0.020833, 0.140625, 0.1875), "lite", "detector", 0.2)),
        ("complete", None),
    ]
    with pytest.raises(DataMinerError, match="queue 'unsure' of project 'cyclists' has no open questions"):
        send_frames(platform, "cyclists", tool=tool, queue=ReviewQueue.UNSURE, to=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_send_frames__a_frame_that_was_held_is_released_once_it_came_back(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root", releasing={"unsure": "hold"})

    def released(version: str) -> dict[str, list[str]]:
        release_project(platform, "cyclists")
        images = read_images(platform.layout.release_folder("cyclists", version))
        return {image.frame_id: [box.class_name for box in image.boxes] for image in images}

    before = released("v001")
    assert "files-aaa/000001" not in before
    folder = send_frames(platform, "cyclists", tool="cvat", queue=ReviewQueue.UNSURE, to=tmp_path / "export").folder
    path = ANNOTATORS["cvat"](folder, {"files-aaa/000001": [BICYCLE]}, tmp_path)
    file = ReturnedFile(path, "cvat", "ann", all_reviewed=True)
    import_corrections(platform, "cyclists", file, find_sent(platform, "cyclists", path, folder=folder))
    assert released("v002") == before | {"files-aaa/000001": ["bicycle"]}


def test_send_frames__each_frame_once_and_no_more_than_wanted(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    sent = send_frames(platform, "cyclists", tool="cvat", queue=ReviewQueue.NEAR_THRESHOLD, to=tmp_path / "all")
    assert sent.num_images == 4  # the queue asks about six boxes on them
    some = send_frames(platform, "cyclists", tool="cvat", queue=ReviewQueue.RANDOM, to=tmp_path / "some", limit=3)
    assert some.num_images == 3


def test_send_frames__a_picture_that_is_gone(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    (picture,) = (platform.root / "frames" / "files-aaa").glob("*1.jpg")
    picture.unlink()
    with pytest.raises(
        DataMinerError,
        match="image of frame files-aaa/000001 is missing; nothing was sent; run `data-miner backfill --asset frames",
    ):
        send_frames(platform, "cyclists", tool="cvat", queue=ReviewQueue.UNSURE, to=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_send_frames__refuses(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    with pytest.raises(
        ConfigError, match="`--for coco` is not a supported tool; use one of label-studio, cvat, fiftyone"
    ):
        send_frames(platform, "cyclists", tool="coco", queue=ReviewQueue.UNSURE, to=tmp_path / "a")
    with pytest.raises(
        ConfigError, match="queue 'duplicates' is not about boxes; use one of unsure, disagreement, near_threshold"
    ):
        send_frames(platform, "cyclists", tool="cvat", queue=ReviewQueue.DUPLICATES, to=tmp_path / "a")
    with pytest.raises(ConfigError, match="is in the root's own folder frames"):
        send_frames(platform, "cyclists", tool="cvat", queue=ReviewQueue.UNSURE, to=tmp_path / "root" / "frames" / "a")
