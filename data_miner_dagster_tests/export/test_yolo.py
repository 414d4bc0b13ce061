"""Tests of YOLO labels, line by line. test_verification.py tests that the read-back finds each fault."""

from pathlib import Path

import pytest

from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster.export.yolo import YoloWriter, label_file, read_yolo_labels, yolo_line
from data_miner_dagster_tests.support.releases import HEADER, IMAGES, release_box, release_image, write_images

LINES: dict[str, tuple[int, tuple[float, float, float, float], str]] = {
    "whole pixels": (0, (4.0, 6.0, 40.0, 30.0), "0 0.343750 0.375000 0.562500 0.500000\n"),
    "parts of pixels": (1, (10.5, 8.25, 30.0, 47.0), "1 0.316406 0.575521 0.304688 0.807292\n"),
    "the whole image": (1, (0.0, 0.0, 64.0, 48.0), "1 0.500000 0.500000 1.000000 1.000000\n"),
    "a pixel in a corner": (0, (63.0, 47.0, 64.0, 48.0), "0 0.992188 0.989583 0.015625 0.020833\n"),
}
YAMLS: dict[str, tuple[tuple[ReleaseImage, ...], str]] = {
    "no images": (
        (),
        """# cyclists v001: 0 images
# every video here was released in another split before: there is nothing to train on
# no video fell into val: it points to train, so its metrics say nothing about new videos
val: images/train
""",
    ),
    "all in train": (
        IMAGES[:2],
        """# cyclists v001: 2 images
# no video fell into val: it points to train, so its metrics say nothing about new videos
train: images/train
val: images/train
""",
    ),
    "train and val": (
        IMAGES,
        """# cyclists v001: 4 images
train: images/train
val: images/val
""",
    ),
    "nothing in train": (
        (release_image(1, "val", "files-b", 0), release_image(2, "test", "files-c", 0)),
        """# cyclists v001: 2 images
# every video here was released in another split before: there is nothing to train on
val: images/val
test: images/test
""",
    ),
}
REFUSED = {
    "too far right": "0 1.000001 0.5 0.1 0.1",
    "too far left": "0 -0.1 0.5 0.1 0.1",
    "too wide": "0 0.5 0.5 1.1 0.1",
    "no number": "0 nan 0.5 0.1 0.1",
    "a word": "0 x 0.5 0.1 0.1",
    "a class that is none": "a 0.5 0.5 0.1 0.1",
    "too few": "0 0.5 0.5 0.1",
    "too many": "0 0.5 0.5 0.1 0.1 0.9",
    "empty line": "\n",
}


@pytest.mark.parametrize("case", LINES)
def test_yolo_line__is_relative_to_the_image(case: str) -> None:
    class_index, corners, line = LINES[case]
    assert yolo_line(release_box(class_index, corners), 64, 48) == line


@pytest.mark.parametrize("case", YAMLS)
def test_yolo_writer__data_yaml(tmp_path: Path, case: str) -> None:
    images, text = YAMLS[case]
    write_images(YoloWriter(tmp_path, HEADER), images)
    assert (tmp_path / "data.yaml").read_text() == text + "names:\n  0: person\n  1: bicycle\n"


def test_yolo_writer__a_file_for_every_image(tmp_path: Path) -> None:
    write_images(YoloWriter(tmp_path, HEADER))
    files = {path.relative_to(tmp_path / "labels").as_posix(): path.read_text() for path in tmp_path.rglob("*.txt")}
    assert files == {
        "train/files-a_000000.txt": "0 0.343750 0.375000 0.562500 0.500000\n1 0.316406 0.575521 0.304688 0.807292\n",
        "train/files-a_000002.txt": "",
        "train/files-c_000001.txt": "0 0.037109 0.067708 0.039062 0.052083\n",
        "val/files-b_000000.txt": "1 0.500000 0.500000 1.000000 1.000000\n",
    }


def test_label_file__lies_where_the_image_does_with_another_ending(tmp_path: Path) -> None:
    assert label_file(tmp_path, "val/files-a.b_000001.jpg") == tmp_path / "labels" / "val" / "files-a.b_000001.txt"


def test_read_yolo_labels__what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("")
    assert read_yolo_labels(path) == []
    path.write_text("1 0.5 0.25 1.0 0.5\n0 0 0 0 0\n")
    assert read_yolo_labels(path) == [(1, 0.5, 0.25, 1.0, 0.5), (0, 0.0, 0.0, 0.0, 0.0)]


@pytest.mark.parametrize("case", REFUSED)
def test_read_yolo_labels__refuses(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"0 0.5 0.5 0.1 0.1\n{REFUSED[case]}\n")
    with pytest.raises(
        ValueError, match=r"the line .* of a\.txt (has a number outside 0 to 1|is not a class id and four numbers)"
    ):
        read_yolo_labels(path)
