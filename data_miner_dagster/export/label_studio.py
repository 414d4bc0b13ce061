"""Write tasks with predictions and a labelling interface for Label Studio, and read the annotations that it returns.

Source: https://labelstud.io/guide/predictions, https://labelstud.io/guide/task_format. Coordinates are percentages of
the image's size. Image addresses refer to Label Studio's local file storage, with the export's folder as the
document root.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

from data_miner_dagster.domain.corrections import ReturnedBox, ReturnedImage
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import RelativeBox
from data_miner_dagster.export.codec import Expected
from data_miner_dagster.export.comparing import PIXEL_TOLERANCE, label_problems
from data_miner_dagster.export.records import ReleaseBox, ReleaseHeader, ReleaseImage
from data_miner_dagster.export.round_trips import (
    RELATIVE_DECIMALS,
    box_ids,
    box_in_pixels,
    check_labels,
    read_returned_json,
    relative_box,
    round_trip_codec,
)

TASKS_PER_FILE: Final = 10_000
"""The maximum number of tasks per file, since Label Studio reads an imported file into memory."""
CONFIG_FILE: Final = "label_config.xml"
_TOOL: Final = "Label Studio"
_FROM, _TO, _TYPE = "label", "image", "rectanglelabels"
_ADDRESS: Final = "/data/local-files/?d="


def tasks_file(folder: Path, number: int) -> Path:
    """Return the path of a task file. Files are numbered from 0."""
    return folder / f"tasks-{number:05d}.json"


class LabelStudioWriter:
    """Writes `label_config.xml` and `tasks-<number>.json`, with one task per line.

    Raises:
        ConfigError: Label Studio does not accept a class name.
    """

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        check_labels(header, _TOOL, lambda name: "it reads `$` as a variable" if "$" in name else None)
        self._folder = folder
        self._model = header.title
        self._num_tasks = 0
        (folder / CONFIG_FILE).write_text(label_config(header), encoding="utf-8")
        self._file = self._open()

    def add(self, image: ReleaseImage) -> None:
        """Write one task."""
        if self._num_tasks and self._num_tasks % TASKS_PER_FILE == 0:
            self._finish()
            self._file = self._open()
        separator = ",\n" if self._num_tasks % TASKS_PER_FILE else "\n"
        self._file.write(separator + json.dumps(_task(image, self._model), ensure_ascii=False, allow_nan=False))
        self._num_tasks += 1

    def close(self) -> None:
        """Finish the last file."""
        self._finish()

    def _open(self) -> TextIO:
        file = tasks_file(self._folder, self._num_tasks // TASKS_PER_FILE).open("w", encoding="utf-8")
        file.write("[")
        return file

    def _finish(self) -> None:
        with self._file:
            self._file.write("\n]\n")


def label_config(header: ReleaseHeader) -> str:
    """Return the labelling interface, with the image and a rectangle label for each class."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=_TO, value="$image", zoom="true", zoomControl="true")
    labels = ElementTree.SubElement(view, "RectangleLabels", name=_FROM, toName=_TO)
    for name in header.class_names:
        ElementTree.SubElement(labels, "Label", value=name)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _task(image: ReleaseImage, model: str) -> dict[str, object]:
    prediction: dict[str, object] = {
        "model_version": model,
        "result": [_region(image, number, box_id) for number, box_id in enumerate(box_ids(image))],
    }
    if image.boxes:
        prediction["score"] = min(box.confidence for box in image.boxes)  # sorts the least certain image first
    return {
        "data": {
            "image": _ADDRESS + quote(image.path_in_release),
            "frame_id": image.frame_id,
            "video_key": image.video_key,
            "pts_seconds": image.pts_seconds,
        },
        "predictions": [prediction],
    }


def _region(image: ReleaseImage, number: int, box_id: str) -> dict[str, object]:
    box = image.boxes[number]
    left, top, right, bottom = (round(share * 100, RELATIVE_DECIMALS - 2) for share in relative_box(box, image))
    return {
        "id": box_id,
        "from_name": _FROM,
        "to_name": _TO,
        "type": _TYPE,
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "score": box.confidence,
        **({"meta": meta} if (meta := _meta(box)) else {}),
        "value": {
            "x": left,
            "y": top,
            "width": round(right - left, RELATIVE_DECIMALS - 2),
            "height": round(bottom - top, RELATIVE_DECIMALS - 2),
            "rotation": 0,
            _TYPE: [box.class_name],
        },
    }


def _meta(box: ReleaseBox) -> dict[str, str]:
    """Return a box's `answer_id` and `verifier_verdict` by name, omitting values that are None."""
    said = {"answer_id": box.answer_id, "verifier_verdict": box.verifier_verdict}
    return {name: text for name, text in said.items() if text is not None}


def read_label_studio(path: Path) -> Iterator[ReturnedImage]:
    """Yield the images in a file that Label Studio exported as `JSON`.

    An image is reviewed if a person submitted an annotation and did not skip the task. Among several annotations, the
    one marked as ground truth is used, or else the latest one. If a region of this annotation cannot become a box,
    `unusable` says why.

    Raises:
        ConfigError: the file is missing, unreadable, too large, or not a JSON export by Label Studio.
    """
    tasks = read_returned_json(path, _TOOL)
    if not isinstance(tasks, list):
        raise ConfigError(f"{path} is not a list of tasks; export it from {_TOOL} as JSON")
    for number, task in enumerate(tasks, 1):
        try:
            yield _returned(task)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            is_task = isinstance(task, Mapping) and "annotations" in task
            hint = "export the tasks again" if is_task else "export the tasks as JSON, not JSON-MIN, and give that file"
            why = f"{type(error).__name__}: {str(error)[:80]}" if is_task else "it has no key `annotations`"
            raise ConfigError(f"task {number} in {path} is not a valid {_TOOL} task ({why}); {hint}") from error


def _returned(task: Mapping[str, Any]) -> ReturnedImage:
    data = task["data"]
    submitted = [entry for entry in task["annotations"] if not entry.get("was_cancelled")]
    name, frame_id = _file_of(str(data["image"])), data.get("frame_id")
    if not submitted:
        return ReturnedImage(name, is_reviewed=False, frame_id=frame_id)
    chosen = max(submitted, key=lambda entry: (bool(entry.get("ground_truth")), _time_of(entry)))
    boxes, unusable = [], None
    for region in chosen["result"]:
        found = _box_of(region)
        if isinstance(found, ReturnedBox):
            boxes.append(found)
        else:
            unusable = unusable or found
    return ReturnedImage(
        name, tuple(boxes), True, frame_id, _person(chosen.get("completed_by")), _time_of(chosen), unusable
    )


def _file_of(address: str) -> str:
    """Return the path in an image's address. A local file's address has the path in its query."""
    parts = urlsplit(address)
    return parse_qs(parts.query).get("d", [unquote(parts.path)])[0]


def _time_of(annotation: Mapping[str, Any]) -> datetime:
    time = datetime.fromisoformat(annotation.get("updated_at") or annotation["created_at"])
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _person(completed_by: Any) -> str | None:
    """Return the annotator's email address, or else the name or number, or None if the annotator is unknown."""
    if isinstance(completed_by, Mapping):
        return str(completed_by.get("email") or completed_by.get("username") or f"user {completed_by['id']}")
    return None if completed_by is None else f"user {completed_by}"


def _box_of(region: Mapping[str, Any]) -> ReturnedBox | str | None:
    """Convert a region to a box, or return why that is impossible. Return None for other entries, such as comments."""
    kind = str(region["type"])
    if kind != _TYPE:
        return f"a region of type {kind}" if kind.endswith("labels") else None
    value = region["value"]
    if len(value[_TYPE]) != 1 or value.get("rotation") or region.get("image_rotation"):
        return "a box that is rotated or does not have exactly one label"
    x, y, width, height = (float(value[name]) / 100 for name in ("x", "y", "width", "height"))
    return ReturnedBox(str(value[_TYPE][0]), (x, y, x + width, y + height), region.get("id"))


def label_studio_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the tasks and the labelling interface."""
    if (folder / CONFIG_FILE).read_text(encoding="utf-8") != label_config(expected.header):
        yield f"{CONFIG_FILE}: the labels do not match the classes {expected.header.class_names}"
    tasks = _tasks(folder, expected.tally.num_images)
    for image in expected.read_images():
        task = next(tasks, None)
        if task is None:
            yield f"there is no task for {image.file_name}"
            return
        found = (_file_of(task["data"]["image"]), task["data"]["frame_id"], task["data"]["pts_seconds"])
        wanted = (image.path_in_release, image.frame_id, image.pts_seconds)
        if found != wanted:
            yield f"{image.file_name}: its task has {found}, expected {wanted}"
            return
        yield from _prediction_problems(task["predictions"], image, expected.header.class_names)
    if next(tasks, None) is not None:
        yield "there are more tasks than images"


def _tasks(folder: Path, num_images: int) -> Iterator[Mapping[str, Any]]:
    for number in range(max(1, -(-num_images // TASKS_PER_FILE))):
        yield from json.loads(tasks_file(folder, number).read_text(encoding="utf-8"))


def _prediction_problems(
    predictions: Sequence[Mapping[str, Any]], image: ReleaseImage, class_names: Sequence[str]
) -> Iterator[str]:
    (prediction,) = predictions
    found = [_box_of(region) for region in prediction["result"]]
    boxes = [box for box in found if isinstance(box, ReturnedBox)]
    corners: list[tuple[int, RelativeBox]] = [
        (class_names.index(box.class_name), box_in_pixels(box.box, image)) for box in boxes
    ]
    yield from label_problems(image, image.boxes, corners, PIXEL_TOLERANCE)
    if tuple(box.box_id for box in boxes) != box_ids(image):
        yield f"{image.file_name}: the ids of its boxes differ"
    if [region["score"] for region in prediction["result"]] != [box.confidence for box in image.boxes]:
        yield f"{image.file_name}: the confidences of its boxes differ"
    if [region.get("meta", {}) for region in prediction["result"]] != [_meta(box) for box in image.boxes]:
        yield f"{image.file_name}: the answers or verdicts of its boxes differ"


CODEC: Final = round_trip_codec(lambda to: LabelStudioWriter(to.folder, to.header), label_studio_problems)
