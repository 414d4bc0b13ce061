"""Tests that the three formats for annotation tools store everything, or reject it with a one-line message."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.corrections import ReturnedImage
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.export.codec import Codec, Destination
from data_miner_dagster.export.cvat import read_cvat
from data_miner_dagster.export.fiftyone import read_fiftyone
from data_miner_dagster.export.formats import EXPORT_FORMATS
from data_miner_dagster.export.label_studio import LabelStudioWriter, tasks_file
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage
from data_miner_dagster.export.round_trips import box_ids, read_shown, shown_folder
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster_tests.support.releases import HEADER, IMAGES, JUDGED_HEADER, release_image, write_images

TOOLS = ("label-studio", "cvat", "fiftyone")
ODD_NAMES = (
    'Füße & "x"/<y>',
    "no",
    "reviewed",
    "a/b\\c",
    "  two  blanks'",
    "日本",
    "background",
    "{{label}}",
    "x" * 64,
)


def written(folder: Path, tool: str, images: tuple[ReleaseImage, ...], header: ReleaseHeader = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    codec: Codec = EXPORT_FORMATS[tool].codec
    with StoredPictures(ExtractionConfig()) as pictures:
        write_images(codec.open_writer(Destination(folder, header, folder, pictures)), images)
    return folder


def read_back(folder: Path, tool: str) -> Iterator[ReturnedImage]:
    """Read an unchanged export as if an annotation tool had returned it."""
    if tool == "cvat":
        return read_cvat(folder / "annotations.xml")
    if tool == "fiftyone":
        return read_fiftyone(folder)
    raise AssertionError(tool)


@pytest.mark.parametrize("tool", TOOLS)
def test_round_trip_codec__odd_names_and_no_boxes(tmp_path: Path, tool: str) -> None:
    header = replace(HEADER, class_names=ODD_NAMES)
    box = IMAGES[0].boxes[0]
    boxes = tuple(replace(box, class_index=index, class_name=name) for index, name in enumerate(ODD_NAMES))
    images = (replace(IMAGES[0], boxes=boxes), replace(IMAGES[1]))
    folder = written(tmp_path / tool, tool, images, header)
    assert read_shown(folder) == (header, None)
    assert list(read_images(shown_folder(folder))) == list(images)
    if tool == "label-studio":
        tasks = json.loads(tasks_file(folder, 0).read_text())
        found = [region["value"]["rectanglelabels"][0] for region in tasks[0]["predictions"][0]["result"]]
        assert tasks[1]["predictions"][0] == {"model_version": "cyclists v001", "result": []}
    else:
        first, second = read_back(folder, tool)
        found = [box.class_name for box in first.boxes]
        assert second.boxes == ()
    assert found == list(ODD_NAMES)


@pytest.mark.parametrize("tool", TOOLS)
def test_round_trip_codec__no_images(tmp_path: Path, tool: str) -> None:
    folder = written(tmp_path / tool, tool, ())
    assert list(read_images(shown_folder(folder))) == []
    assert tool == "label-studio" or list(read_back(folder, tool)) == []


@pytest.mark.parametrize(
    ("tool", "name", "why"),
    [
        (
            "label-studio",
            "$image",
            r"Label Studio does not accept the class name '\$image' \(it reads `\$` as a variable\)",
        ),
        ("cvat", "x" * 65, "CVAT does not accept the class name .* more than 64 characters"),
        ("cvat", "a\x01", "CVAT does not accept the class name .* control characters"),
        ("voc", "a\x01", "VOC does not accept the class name .* control characters"),
        ("mot", "a\nb", "MOT does not accept the class name .* control characters"),
        ("fiftyone", "a\x00", "FiftyOne does not accept the class name .* control characters"),
    ],
)
def test_check_labels__a_name_that_the_tool_would_change(tmp_path: Path, tool: str, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        written(tmp_path, tool, (), replace(JUDGED_HEADER, class_names=(name,)))


def test_label_studio_writer__many_tasks_are_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_miner_dagster.export.label_studio.TASKS_PER_FILE", 2)
    write_images(LabelStudioWriter(tmp_path, HEADER), IMAGES)
    frames = [
        [task["data"]["frame_id"] for task in json.loads(tasks_file(tmp_path, number).read_text())] for number in (0, 1)
    ]
    assert frames == [["files-a/000000", "files-a/000002"], ["files-b/000000", "files-c/000001"]]
    assert not tasks_file(tmp_path, 2).exists()


def test_box_ids__equal_boxes_have_names_of_their_own() -> None:
    corners = (1.0, 2.0, 3.0, 4.0)
    first, second, third = box_ids(release_image(1, "train", "files-a", 0, (0, corners), (0, corners), (1, corners)))
    assert second == f"{first}-2"
    assert third != first
    # a box's id is the same in every release, and differs between frames
    assert box_ids(release_image(9, "val", "files-a", 0, (0, corners))) == (first,)
    assert box_ids(release_image(1, "train", "files-a", 1, (0, corners))) != (first,)
