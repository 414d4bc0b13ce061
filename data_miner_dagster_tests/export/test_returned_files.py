"""Tests of files from annotation tools: what is read from them, and what is rejected with a one-line message."""

import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.domain.corrections import ReturnedBox, ReturnedImage
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.export.coco_returned import read_returned_coco
from data_miner_dagster.export.cvat import read_cvat
from data_miner_dagster.export.fiftyone import read_fiftyone
from data_miner_dagster.export.label_studio import read_label_studio

Reader = Callable[[Path], Iterator[ReturnedImage]]
READERS: tuple[Reader, ...] = (read_label_studio, read_cvat, read_fiftyone, read_returned_coco)


def region(label: str = "person", **changes: Any) -> dict[str, Any]:
    value = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": [label]}
    return {"id": "b1", "type": "rectanglelabels", "value": value | changes.pop("value", {})} | changes


def annotation(*regions: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"result": list(regions), "was_cancelled": False, "created_at": "2026-01-02T03:04:05Z"} | values


def from_label_studio(tmp_path: Path, *annotations: dict[str, Any], **data: Any) -> ReturnedImage:
    task = {"data": {"image": "/data/local-files/?d=images/train/a_000000.jpg"} | data, "annotations": annotations}
    (tmp_path / "tasks.json").write_text(json.dumps([task]))
    (image,) = read_label_studio(tmp_path / "tasks.json")
    return image


def test_read_label_studio__who_and_when(tmp_path: Path) -> None:
    by = {"id": 3, "email": "ann@example.org"}
    image = from_label_studio(tmp_path, annotation(region(), completed_by=by), frame_id="files-a/000000")
    box = ReturnedBox("person", (0.1, 0.2, 0.4, 0.2 + 0.4), "b1")
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert image == ReturnedImage("images/train/a_000000.jpg", (box,), True, "files-a/000000", "ann@example.org", at)
    assert from_label_studio(tmp_path, annotation(completed_by=3)).who == "user 3"
    assert from_label_studio(tmp_path, annotation()).who is None
    uploaded = from_label_studio(tmp_path, image="/data/upload/1/8f3a1b2c-a%20b_000000.jpg")
    assert uploaded == ReturnedImage("/data/upload/1/8f3a1b2c-a b_000000.jpg", is_reviewed=False)


def test_read_label_studio__which_annotation(tmp_path: Path) -> None:
    skipped = annotation(region("skipped"), was_cancelled=True, updated_at="2026-01-09T00:00:00Z")
    early, late = annotation(region("early")), annotation(region("late"), updated_at="2026-01-05T00:00:00.5+01:00")
    truth = annotation(region("truth"), ground_truth=True)
    assert from_label_studio(tmp_path, skipped).is_reviewed is False
    assert from_label_studio(tmp_path, late, early, skipped).boxes[0].class_name == "late"
    assert from_label_studio(tmp_path, late, truth, early).boxes[0].class_name == "truth"


@pytest.mark.parametrize(
    ("changes", "unusable"),
    [
        ({"value": {"rotation": 12.5}}, "a box that is rotated or does not have exactly one label"),
        ({"image_rotation": 90}, "a box that is rotated or does not have exactly one label"),
        ({"value": {"rectanglelabels": []}}, "a box that is rotated or does not have exactly one label"),
        ({"value": {"rectanglelabels": ["a", "b"]}}, "a box that is rotated or does not have exactly one label"),
        ({"type": "polygonlabels"}, "a region of type polygonlabels"),
        ({"type": "relation"}, None),
        ({"type": "choices"}, None),
    ],
)
def test_read_label_studio__what_is_no_upright_box(
    tmp_path: Path, changes: dict[str, Any], unusable: str | None
) -> None:
    image = from_label_studio(tmp_path, annotation(region(), region(**changes)))
    assert (len(image.boxes), image.unusable) == (1, unusable)


CVAT_HEAD = """<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><job><id>1</id>
<updated>2026-01-02 03:04:05.5+00:00</updated><owner><username>boss</username></owner>
<labels><label><name>person</name></label></labels></job></meta>"""
CVAT_IMAGE = """<image id="0" name="train/a_000000.jpg" width="200" height="100">{}</image>"""
CVAT_BOX = """<box label="Füße &amp; co" source="manual" occluded="0" xtl="20.00" ytl="20.00" xbr="80.00" ybr="60.00">
<attribute name="data_miner_box">b1</attribute><attribute name="answer_id"></attribute></box>"""


def from_cvat(tmp_path: Path, content: str, head: str = CVAT_HEAD) -> list[ReturnedImage]:
    (tmp_path / "a.xml").write_text(f"{head}{content}</annotations>", encoding="utf-8")
    return list(read_cvat(tmp_path / "a.xml"))


def test_read_cvat__a_job(tmp_path: Path) -> None:
    (image,) = from_cvat(tmp_path, CVAT_IMAGE.format(CVAT_BOX))
    at = datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)
    box = ReturnedBox("Füße & co", (0.1, 0.2, 0.4, 0.6), "b1")
    assert image == ReturnedImage("train/a_000000.jpg", (box,), None, None, "boss", at)
    assert from_cvat(tmp_path, "") == []
    drawn = CVAT_BOX.replace(">b1<", "><")
    assert from_cvat(tmp_path, CVAT_IMAGE.format(drawn))[0].boxes[0].box_id is None


@pytest.mark.parametrize(
    ("content", "is_reviewed", "unusable"),
    [
        ('<tag label="reviewed" source="manual"></tag>', True, None),
        ('<tag label="blurred" source="manual"></tag>', None, None),
        ('<polygon label="person" points="1,2;3,4;5,6"></polygon>', None, "a shape of kind polygon"),
        (CVAT_BOX.replace('occluded="0"', 'rotation="30.5"'), None, "a box that is rotated"),
        (CVAT_BOX.replace('occluded="0"', 'rotation="0.0"'), None, None),
    ],
)
def test_read_cvat__tags_and_shapes(
    tmp_path: Path, content: str, is_reviewed: bool | None, unusable: str | None
) -> None:
    (image,) = from_cvat(tmp_path, CVAT_IMAGE.format(content))
    assert (image.is_reviewed, image.unusable) == (is_reviewed, unusable)


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"<?xml version='1.0'?>{BOMB}<annotations>&b;</annotations>", "declares a document type"),
        ("<annotation></annotation>", "has no <annotations>"),
        ("<annotations><image", "unclosed token|not well-formed"),
        ('<annotations><track id="0"></track></annotations>', "it has tracks, as in the formats for video"),
        (f"<annotations>{CVAT_IMAGE.format('<box/>')}</annotations>", "KeyError: 'xtl'"),
        (f"<annotations>{CVAT_IMAGE.format('').replace('200', '0')}</annotations>", "has 0 by 100 pixels"),
        (
            f"<annotations>{CVAT_IMAGE.format(CVAT_BOX).replace('80.00', 'nan')}</annotations>",
            "a corner that is not finite",
        ),
        ("", "no element found"),
    ],
)
def test_read_cvat__a_damaged_or_foreign_file(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ConfigError, match=rf"a\.xml cannot be read as CVAT for images 1\.1 \(.*({why}).*this format$"):
        list(read_cvat(tmp_path / "a.xml"))


def test_read_cvat__a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.xml cannot be read \(No such file or directory\); check the path"):
        list(read_cvat(tmp_path / "a.xml"))


def test_read_cvat__archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/a_000000.jpg", b"...")
    with pytest.raises(ConfigError, match=r"has 0 files named annotations\.xml"):
        list(read_cvat(path))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", f"{CVAT_HEAD}{CVAT_IMAGE.format(CVAT_BOX)}{' ' * 100_000}</annotations>")
    assert len(list(read_cvat(path))) == 1
    monkeypatch.setattr("data_miner_dagster.export.round_trips.MAX_RETURNED_BYTES", 50_000)
    with pytest.raises(
        ConfigError, match=r"more than 50 kB, the most that can be read; export it in parts"
    ):  # whatever size the archive states
        list(read_cvat(path))
    path.write_bytes(path.read_bytes()[:150] + b"x" * 20 + path.read_bytes()[170:])
    with pytest.raises(ConfigError, match=r"cannot be read as CVAT for images 1\.1"):
        list(read_cvat(path))


def test_read_fiftyone__labels_without_samples(tmp_path: Path) -> None:
    detection = {"label": 1, "bounding_box": [0.1, 0.2, 0.3, 0.4], "attributes": {"box_id": "b1"}}
    content = {"classes": ["bicycle", "person"], "labels": {"a.b_000000": [detection], "c_000001": None}}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    box = ReturnedBox("person", (0.1, 0.2, 0.4, 0.2 + 0.4), "b1")
    assert list(read_fiftyone(tmp_path)) == [ReturnedImage("a.b_000000", (box,)), ReturnedImage("c_000001")]


def test_read_fiftyone__samples(tmp_path: Path) -> None:
    samples = [
        {"filepath": "/x/a.jpg", "tags": ["train", "reviewed"], "frame_id": "files-a/000000", "detections": None},
        {"filepath": "/x/b.jpg", "tags": []},
    ]
    (tmp_path / "samples.json").write_text(json.dumps({"samples": samples}))
    assert list(read_fiftyone(tmp_path / "samples.json")) == [
        ReturnedImage("/x/a.jpg", is_reviewed=True, frame_id="files-a/000000"),
        ReturnedImage("/x/b.jpg"),
    ]


def test_read_returned_coco(tmp_path: Path) -> None:
    image = {"id": 7, "file_name": "a_000000.jpg", "width": 200, "height": 100}
    boxes = [
        {"image_id": 7, "category_id": 2, "bbox": [20, 20, 60, 40]},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 200, 100], "iscrowd": 1},
    ]
    content = {"images": [image], "annotations": boxes, "categories": [{"id": 2, "name": "person"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    plain, region = ReturnedBox("person", (0.1, 0.2, 0.4, 0.6)), ReturnedBox("person", (0, 0, 1, 1), is_undecided=True)
    assert list(read_returned_coco(tmp_path / "a.json")) == [ReturnedImage("a_000000.jpg", (plain, region))]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("content", ["", "{", "[", "[1]", "{}", '{"samples": [{}]}', "\x00\xff", "[" * 100_000, '"x"'])
def test_readers__a_damaged_or_foreign_file(tmp_path: Path, read: Reader, content: str) -> None:
    path = tmp_path / "returned"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"returned.*export (it|as|the tasks)") as caught:
        list(read(path))
    assert "\n" not in str(caught.value)


def test_read_returned_coco__values_of_another_kind(tmp_path: Path) -> None:
    image = {"id": 7, "file_name": "a.jpg", "width": 200, "height": 0, "frame_id": [1]}
    for changes, why in (({}, "the frame id .1. is not a string"), ({"frame_id": "x"}, "ZeroDivisionError")):
        boxes = [{"image_id": 7, "category_id": 2, "bbox": [20, 20, 60, 40]}] if changes else []
        content = {"images": [image | changes], "annotations": boxes, "categories": [{"id": 2, "name": "person"}]}
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=why):
            list(read_returned_coco(tmp_path / "a.json"))


@pytest.mark.parametrize("read", READERS)
def test_readers__no_file(tmp_path: Path, read: Reader) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        list(read(tmp_path / "missing"))


def test_read_label_studio__a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "min.json").write_text('[{"image": "/data/a.jpg", "label": [], "id": 1}]')
    with pytest.raises(
        ConfigError,
        match=r"task 1 in .* is not a valid Label Studio task \(.* `annotations`\); .* as JSON, not JSON-MIN",
    ):
        list(read_label_studio(tmp_path / "min.json"))
