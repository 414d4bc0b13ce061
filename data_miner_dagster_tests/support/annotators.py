"""People who use other tools: each corrects the labels of an export, and writes the file that the tool would export.

The files imitate those of the tools: they have the same keys, round to the same number of decimals, and contain the
names of boxes only if the tool keeps them. `interop/` has checks that use the tools' own packages.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.round_trips import shown_folder

Corners = tuple[float, float, float, float]
TrueBox = tuple[str, Corners]
"""A class name, followed by left, top, right and bottom in pixels."""
Truth = Mapping[str, Sequence[TrueBox]]
"""The objects that are really on each frame, by frame id."""
ANNOTATOR = "ann@example.org"
DONE_AT = "2026-03-04T05:06:07.123456Z"


@dataclass(frozen=True)
class Corrected:
    """A box after correction. `number` is its position among the exported boxes, or None if the person drew it."""

    number: int | None
    class_name: str
    corners: Corners
    is_moved: bool = False


def corrected(shown: Sequence[TrueBox], truth: Sequence[TrueBox]) -> list[Corrected]:
    """Return the boxes as a careful person corrects them: those on objects, moved if inexact, and new ones."""
    left, boxes = list(truth), []
    for number, (class_name, corners) in enumerate(shown):
        near = [box for box in left if box[0] == class_name and _overlap(box[1], corners) > 0.3]
        if near:
            best = max(near, key=lambda box: _overlap(box[1], corners))
            left.remove(best)
            is_moved = any(abs(one - other) > 0.01 for one, other in zip(best[1], corners, strict=True))
            boxes.append(Corrected(number, class_name, best[1] if is_moved else corners, is_moved))
    return boxes + [Corrected(None, class_name, corners) for class_name, corners in left]


def _overlap(one: Corners, other: Corners) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def at_label_studio(export: Path, truth: Truth, to: Path) -> Path:
    """Submit an annotation for every task, and export all of them as JSON."""
    tasks: list[dict[str, object]] = []
    for file in sorted(export.glob("tasks-*.json")):
        for task in json.loads(file.read_text()):
            (prediction,) = task["predictions"]
            number = len(tasks) + 1
            result = _regions(prediction["result"], truth[task["data"]["frame_id"]], number)
            annotation = {
                "id": 1000 + number,
                "completed_by": {"id": 1, "email": ANNOTATOR, "first_name": "", "last_name": ""},
                "result": result,
                "was_cancelled": False,
                "ground_truth": False,
                "created_at": DONE_AT,
                "updated_at": DONE_AT,
                "draft_created_at": None,
                "lead_time": 4.2,
                "prediction": prediction,
                "result_count": len(result),
                "task": number,
                "parent_prediction": number,
            }
            tasks.append({"id": number, "annotations": [annotation], "predictions": [number], "data": task["data"]})
    path = to / "project-1-at-2026-03-04-05-06.json"
    path.write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    return path


def _regions(regions: Sequence[dict[str, Any]], truth: Sequence[TrueBox], task: int) -> list[dict[str, Any]]:
    shown, sizes = [], (64, 48)
    for region in regions:
        value, sizes = region["value"], (region["original_width"], region["original_height"])
        left, top = value["x"] * sizes[0] / 100, value["y"] * sizes[1] / 100
        right, bottom = left + value["width"] * sizes[0] / 100, top + value["height"] * sizes[1] / 100
        shown.append((value["rectanglelabels"][0], (left, top, right, bottom)))
    result: list[dict[str, Any]] = []
    for box in corrected(shown, truth):
        region = {} if box.number is None else dict(regions[box.number])
        if box.number is None or box.is_moved:
            left, top, right, bottom = (100 * edge / sizes[axis % 2] for axis, edge in enumerate(box.corners))
            region |= {
                "value": {
                    "x": left,
                    "y": top,
                    "width": right - left,
                    "height": bottom - top,
                    "rotation": 0,
                    "rectanglelabels": [box.class_name],
                }
            }
        if box.number is None:
            region |= {
                "id": f"Dx_{task}-{len(result)}",
                "from_name": "label",
                "to_name": "image",
                "type": "rectanglelabels",
                "original_width": sizes[0],
                "original_height": sizes[1],
                "image_rotation": 0,
            }
        origin = "manual" if box.number is None else "prediction-changed" if box.is_moved else "prediction"
        result.append(region | {"origin": origin})
    return result


def at_cvat(export: Path, truth: Truth, to: Path) -> Path:
    """Correct every image of the task, and export it as `CVAT for images 1.1`."""
    tree = ElementTree.parse(export / "annotations.xml")
    frame_ids = {image.file_name: image.frame_id for image in read_images(shown_folder(export))}
    root = tree.getroot()
    task = root.find("meta/task")
    assert task is not None
    for name, text in (
        ("id", "7"),
        ("created", DONE_AT),
        ("updated", DONE_AT.replace("T", " ").replace("Z", "+00:00")),
    ):
        ElementTree.SubElement(task, name).text = text
    ElementTree.SubElement(ElementTree.SubElement(task, "owner"), "username").text = "boss"
    ElementTree.SubElement(ElementTree.SubElement(task, "assignee"), "username").text = ANNOTATOR
    for image in root.iter("image"):
        entries = image.findall("box")
        shown = [(entry.get("label", ""), _corners_of(entry)) for entry in entries]
        for entry in entries:
            image.remove(entry)
        for box in corrected(shown, truth[frame_ids[image.get("name", "")]]):
            image.append(_cvat_box(box, None if box.number is None else entries[box.number]))
    path = to / "task_7_annotations_2026_03_04_05_06_07_cvat for images 1.1.zip"
    content = io.BytesIO()
    tree.write(content, encoding="utf-8", xml_declaration=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", content.getvalue())
    return path


def _corners_of(entry: ElementTree.Element) -> Corners:
    left, top, right, bottom = (float(entry.get(name, "")) for name in ("xtl", "ytl", "xbr", "ybr"))
    return left, top, right, bottom


def _cvat_box(box: Corrected, entry: ElementTree.Element | None) -> ElementTree.Element:
    texts = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{edge:.2f}" for edge in box.corners), strict=True))
    source = "manual" if entry is None else "semi-auto" if box.is_moved else "auto"
    attributes = {"label": box.class_name, "source": source, "occluded": "0", **texts, "z_order": "0"}
    made = ElementTree.Element("box", attributes)
    known = {} if entry is None else {child.get("name"): child.text for child in entry}
    for name in ("confidence", "data_miner_box", "detector", "answer_id"):
        ElementTree.SubElement(made, "attribute", name=name).text = known.get(name, "")
    return made


def at_fiftyone(export: Path, truth: Truth, to: Path) -> Path:
    """Correct every sample, tag it as reviewed, and export the labels as `FiftyOneDataset`."""
    content = json.loads((export / "samples.json").read_text())
    for sample in content["samples"]:
        sample["filepath"] = str(export / sample["filepath"])
        sample["tags"].append("reviewed")
        width, height = sample["metadata"]["width"], sample["metadata"]["height"]
        detections = sample["detections"]["detections"]
        shown = []
        for entry in detections:
            x, y, side, other_side = entry["bounding_box"]
            corners = (x * width, y * height, (x + side) * width, (y + other_side) * height)
            shown.append((entry["label"], corners))
        sample["detections"]["detections"] = [
            _detection(box, None if box.number is None else detections[box.number], (width, height))
            for box in corrected(shown, truth[sample["frame_id"]])
        ]
    folder = to / "fiftyone"
    folder.mkdir()
    (folder / "samples.json").write_text(json.dumps(content))
    return folder


def _detection(box: Corrected, entry: dict[str, Any] | None, sizes: tuple[int, int]) -> dict[str, Any]:
    left, top, right, bottom = (edge / sizes[axis % 2] for axis, edge in enumerate(box.corners))
    drawn = {"_cls": "Detection", "attributes": {}, "tags": [], "label": box.class_name}
    if entry is not None and not box.is_moved:
        return entry
    return (entry or drawn) | {"bounding_box": [left, top, right - left, bottom - top]}


def as_coco(export: Path, truth: Truth, to: Path) -> Path:
    """Export COCO as a tool does that keeps neither names nor confidences and rounds coordinates to two decimals."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    categories: dict[str, int] = {}
    for image in read_images(export):
        number = len(images) + 1
        name = image.file_name.rpartition("/")[2]
        images.append({"id": number, "file_name": name, "width": image.width, "height": image.height})
        shown = [(box.class_name, box.box_xyxy) for box in image.boxes]
        for box in corrected(shown, truth[image.frame_id]):
            left, top, right, bottom = box.corners
            category = categories.setdefault(box.class_name, len(categories) + 1)
            bbox = [round(value, 2) for value in (left, top, right - left, bottom - top)]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": category, "bbox": bbox, "iscrowd": 0}
            )
    path = to / "instances_default.json"
    named = [{"id": number, "name": name} for name, number in categories.items()]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": named}))
    return path


ANNOTATORS: Mapping[str, Callable[[Path, Truth, Path], Path]] = {
    "label-studio": at_label_studio,
    "cvat": at_cvat,
    "fiftyone": at_fiftyone,
    "coco": as_coco,
}
"""The functions by tool. Each takes an export, the truth and a folder, writes a file there and returns its path."""
