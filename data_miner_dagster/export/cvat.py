"""Write annotations as `CVAT for images 1.1` with the labels of a task, and read annotations that CVAT returns.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat and https://docs.cvat.ai/docs/other/xml_format.
A box's confidence, id, detector, answer and verifier's verdict are stored as attributes of its label.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Final, TextIO
from xml.etree import ElementTree

from data_miner_dagster.domain.corrections import ReturnedBox, ReturnedImage
from data_miner_dagster.domain.tables import VERDICT_COLUMN
from data_miner_dagster.export.codec import Expected
from data_miner_dagster.export.comparing import PIXEL_TOLERANCE, label_problems
from data_miner_dagster.export.cvat_xml import CvatXml, XmlBox, XmlImage
from data_miner_dagster.export.records import ReleaseBox, ReleaseHeader, ReleaseImage
from data_miner_dagster.export.round_trips import REVIEWED, box_ids, box_in_pixels, check_labels, round_trip_codec

ANNOTATIONS_FILE: Final = "annotations.xml"
LABELS_FILE: Final = "labels.json"
MAX_LABEL_LENGTH: Final = 64
"""The maximum length of a label's name in CVAT, in characters."""
_BOX: Final = "data_miner_box"
_ATTRIBUTES: Final = ("confidence", _BOX, "detector", "answer_id")


def _attributes(header: ReleaseHeader) -> tuple[str, ...]:
    """Return the names of a box's attributes, including the verifier's verdict if the release has verdicts."""
    return (*_ATTRIBUTES, *(name for name in header.extra_columns if name == VERDICT_COLUMN))


class CvatWriter:
    """Writes `annotations.xml`, and `labels.json` for CVAT's label constructor, in bounded memory.

    Raises:
        ConfigError: CVAT does not accept a class name.
    """

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        check_labels(header, "CVAT", _why_no_label)
        self._header = header
        self._path = folder / ANNOTATIONS_FILE
        # The number of images comes before the images in the file.
        self._spool = self._path.with_suffix(".images")
        labels = json.dumps(cvat_labels(header), ensure_ascii=False, indent=1) + "\n"
        (folder / LABELS_FILE).write_text(labels, encoding="utf-8")
        self._images: TextIO = self._spool.open("w", encoding="utf-8")
        self._num_images = 0

    def add(self, image: ReleaseImage) -> None:
        """Write one image and its boxes."""
        element = _image(image, self._num_images, _attributes(self._header))
        ElementTree.indent(element, level=1)
        self._images.write(f"  {ElementTree.tostring(element, encoding='unicode')}\n")
        self._num_images += 1

    def close(self) -> None:
        """Write the header and append the images."""
        self._images.close()
        with self._path.open("w", encoding="utf-8") as file, self._spool.open(encoding="utf-8") as images:
            file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
            meta = _meta(self._header, self._num_images)
            ElementTree.indent(meta, level=1)
            file.write(f"  {ElementTree.tostring(meta, encoding='unicode')}\n")
            shutil.copyfileobj(images, file)
            file.write("</annotations>\n")
        self._spool.unlink()


def cvat_labels(header: ReleaseHeader) -> list[dict[str, object]]:
    """Return the labels for CVAT's label constructor: a rectangle for each class, and a tag for reviewed images.

    The tag is omitted if a class is called `reviewed`.
    """
    attributes = [
        {"name": name, "input_type": "text", "mutable": False, "default_value": "", "values": [""]}
        for name in _attributes(header)
    ]
    labels: list[dict[str, object]] = [
        {"name": name, "type": "rectangle", "attributes": attributes} for name in header.class_names
    ]
    if REVIEWED not in header.class_names:
        labels.append({"name": REVIEWED, "type": "tag", "attributes": []})
    return labels


def _why_no_label(name: str) -> str | None:
    return None if len(name) <= MAX_LABEL_LENGTH else f"it has more than {MAX_LABEL_LENGTH} characters"


def _meta(header: ReleaseHeader, num_images: int) -> ElementTree.Element:
    meta = ElementTree.Element("meta")
    task = ElementTree.SubElement(meta, "task")
    _add(task, name=header.title, size=num_images, mode="annotation", overlap=0, bugtracker="")
    labels = ElementTree.SubElement(task, "labels")
    for entry in cvat_labels(header):
        label = ElementTree.SubElement(labels, "label")
        _add(label, name=entry["name"], type=entry["type"])
        attributes = ElementTree.SubElement(label, "attributes")
        for name in _attributes(header) if entry["type"] == "rectangle" else ():
            attribute = ElementTree.SubElement(attributes, "attribute")
            _add(attribute, name=name, mutable=False, input_type="text", default_value="", values="")
    return meta


def _image(image: ReleaseImage, number: int, names: Sequence[str]) -> ElementTree.Element:
    element = ElementTree.Element(
        "image", id=str(number), name=image.file_name, width=str(image.width), height=str(image.height)
    )
    for box, box_id in zip(image.boxes, box_ids(image), strict=True):
        corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(str, box.box_xyxy), strict=True))
        attributes = {"label": box.class_name, "source": "auto", "occluded": "0", **corners, "z_order": "0"}
        entry = ElementTree.SubElement(element, "box", attributes)
        for name, text in zip(names, _texts(box, box_id), strict=False):
            ElementTree.SubElement(entry, "attribute", name=name).text = text
    return element


def _texts(box: ReleaseBox, box_id: str) -> tuple[str, ...]:
    """Return a box's values in the order of `_attributes`. The last one is ignored if there are no verdicts."""
    return str(box.confidence), box_id, box.detector, box.answer_id or "", box.verifier_verdict or ""


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)


def read_cvat(path: Path) -> Iterator[ReturnedImage]:
    """Yield the images in an archive that CVAT exported as `CVAT for images 1.1`, or in the XML file from it.

    An image with the tag `reviewed` was reviewed. CVAT does not say whether other images were. The annotator is the
    assignee in the file's header, or else the owner. If an image has a rotated box or a shape other than a box,
    `unusable` names one of them.

    Raises:
        ConfigError: the file is missing, unreadable, too large, damaged, or not an export by CVAT in this format.
    """
    xml = CvatXml(path)
    for image in xml.images():
        found = [_box_of(image, box) for box in image.boxes]
        unusable = next((what for what in found if isinstance(what, str)), None) or next(
            (f"a shape of kind {kind}" for kind in image.other_shapes), None
        )
        yield ReturnedImage(
            image.name,
            tuple(box for box in found if isinstance(box, ReturnedBox)),
            is_reviewed=True if REVIEWED in image.tags else None,
            who=xml.assignee or xml.owner,
            given_at=_time(xml.updated),
            unusable=unusable,
        )


def _box_of(image: XmlImage, box: XmlBox) -> ReturnedBox | str:
    if box.is_turned:
        return "a box that is rotated"
    x_min, y_min, x_max, y_max = box.corners
    shares = (x_min / image.width, y_min / image.height, x_max / image.width, y_max / image.height)
    return ReturnedBox(box.label, shares, box.attributes.get(_BOX) or None)


def _time(text: str | None) -> datetime | None:
    with contextlib.suppress(ValueError):
        time = datetime.fromisoformat(text or "")
        return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return None


def cvat_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the annotations and labels."""
    if json.loads((folder / LABELS_FILE).read_text(encoding="utf-8")) != cvat_labels(expected.header):
        yield f"{LABELS_FILE}: the labels do not match the classes {expected.header.class_names}"
    xml = CvatXml(folder / ANNOTATIONS_FILE, is_returned=False)  # our own file may have any size
    for found, image in zip_longest(xml.images(), expected.read_images()):
        if found is None or image is None:
            yield f"{ANNOTATIONS_FILE}: there are {'more' if image is None else 'fewer'} images than in the release"
            return
        facts = (found.name, found.width, found.height)
        if facts != (wanted := (image.file_name, image.width, image.height)):
            yield f"{ANNOTATIONS_FILE}: image {found.number} is {facts}, expected {wanted}"
            return
        yield from _image_problems(found, image, expected.header)


def _image_problems(found: XmlImage, image: ReleaseImage, header: ReleaseHeader) -> Iterator[str]:
    class_names, names = header.class_names, _attributes(header)
    boxes = [(class_names.index(box.label), box_in_pixels(shares.box, image)) for box, shares in _upright(found)]
    yield from label_problems(image, image.boxes, boxes, PIXEL_TOLERANCE)
    attributes = [tuple(box.attributes[name] for name in names) for box in found.boxes]
    boxes_and_ids = zip(image.boxes, box_ids(image), strict=True)
    if attributes != [_texts(box, box_id)[: len(names)] for box, box_id in boxes_and_ids]:
        yield f"{image.file_name}: the confidences, ids, detectors, answers or verdicts of its boxes differ"


def _upright(image: XmlImage) -> Iterator[tuple[XmlBox, ReturnedBox]]:
    for box in image.boxes:
        if isinstance(found := _box_of(image, box), ReturnedBox):
            yield box, found


CODEC: Final = round_trip_codec(lambda to: CvatWriter(to.folder, to.header), cvat_problems)
