"""Write a dataset in the `FiftyOneDataset` format, and read the labels that FiftyOne returns.

Source: https://docs.voxel51.com/user_guide/import_datasets.html#fiftyonedataset. Boxes are stored as left, top, width
and height relative to the image's size.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.corrections import ReturnedBox, ReturnedImage
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.tables import VERDICT_COLUMN
from data_miner_dagster.export.codec import Expected
from data_miner_dagster.export.comparing import PIXEL_TOLERANCE, label_problems
from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage
from data_miner_dagster.export.round_trips import (
    RELATIVE_DECIMALS,
    REVIEWED,
    box_ids,
    box_in_pixels,
    check_labels,
    read_returned_json,
    relative_box,
    round_trip_codec,
)
from data_miner_dagster.export.spooled_json import as_line, read_entries

METADATA_FILE: Final = "metadata.json"
SAMPLES_FILE: Final = "samples.json"
LABELS_FILE: Final = "labels.json"
LABELS_FIELD: Final = "detections"
DATASET_VERSION: Final = "1.0.0"
"""The oldest version of FiftyOne that can read the written files. Later versions upgrade them on import."""
_TOOL: Final = "FiftyOne"
_FIELDS: Final = "fiftyone.core.fields."


class FiftyOneWriter:
    """Writes `metadata.json` and `samples.json`, with one sample per line.

    Raises:
        ConfigError: a class name has control characters.
    """

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        check_labels(header, _TOOL, lambda _name: None)
        content = json.dumps(dataset_document(header), ensure_ascii=False, indent=1) + "\n"
        (folder / METADATA_FILE).write_text(content, encoding="utf-8")
        self._columns = _columns(header)
        self._file = (folder / SAMPLES_FILE).open("w", encoding="utf-8")
        self._file.write('{"samples": [')
        self._separator = "\n"

    def add(self, image: ReleaseImage) -> None:
        """Write one sample."""
        self._file.write(self._separator + as_line(_sample(image, self._columns)))
        self._separator = ",\n"

    def close(self) -> None:
        """Finish `samples.json`."""
        with self._file:
            self._file.write("\n]}\n")


def dataset_document(header: ReleaseHeader) -> dict[str, object]:
    """Return the document that describes a dataset's fields and classes to FiftyOne."""
    detection = (
        _field("id", "ObjectIdField", db_field="_id"),
        _field("tags", "ListField", subfield="StringField"),
        _field("attributes", "DictField", subfield="EmbeddedDocumentField", document="labels.Attribute"),
        _field("label", "StringField"),
        _field("bounding_box", "ListField", subfield="FloatField"),
        _field("mask", "ArrayField"),
        _field("confidence", "FloatField"),
        _field("index", "IntField"),
        _field("box_id", "StringField"),
        _field("detector", "StringField"),
        _field("answer_id", "StringField"),
        *(_field(name, "StringField") for name in _columns(header)),
    )
    boxes = _field(
        "detections", "ListField", subfield="EmbeddedDocumentField", document="labels.Detection", fields=detection
    )
    return {
        "name": header.title,
        "version": DATASET_VERSION,
        "media_type": "image",
        "tags": [],
        "info": {"description": header.description} if header.description else {},
        "classes": {LABELS_FIELD: list(header.class_names)},
        "default_classes": list(header.class_names),
        "sample_fields": [
            _field("id", "ObjectIdField", db_field="_id"),
            _field("filepath", "StringField"),
            _field("tags", "ListField", subfield="StringField"),
            _field("metadata", "EmbeddedDocumentField", document="metadata.ImageMetadata", fields=_METADATA_FIELDS),
            _field("_media_type", "StringField"),
            _field("_rand", "FloatField"),
            _field("frame_id", "StringField"),
            _field("video_key", "StringField"),
            _field("pts_seconds", "FloatField"),
            _field(LABELS_FIELD, "EmbeddedDocumentField", document="labels.Detections", fields=(boxes,)),
        ],
        "frame_fields": [],
    }


def _columns(header: ReleaseHeader) -> tuple[str, ...]:
    """Return the extra columns of a release that become fields of a detection."""
    return tuple(name for name in header.extra_columns if name == VERDICT_COLUMN)


def _field(
    name: str,
    kind: str,
    *,
    subfield: str | None = None,
    document: str | None = None,
    fields: Sequence[Mapping[str, object]] = (),
    db_field: str | None = None,
) -> dict[str, object]:
    return {
        "name": name,
        "ftype": _FIELDS + kind,
        "embedded_doc_type": f"fiftyone.core.{document}" if document else None,
        "subfield": _FIELDS + subfield if subfield else None,
        "fields": list(fields),
        "db_field": db_field or name,
        "description": None,
        "info": None,
        "read_only": False,
    }


_METADATA_FIELDS: Final = (
    _field("size_bytes", "IntField"),
    _field("mime_type", "StringField"),
    _field("width", "IntField"),
    _field("height", "IntField"),
    _field("num_channels", "IntField"),
)


def _sample(image: ReleaseImage, columns: Sequence[str]) -> dict[str, object]:
    identity = fingerprint_of({"frame": image.frame_id})
    return {
        "_id": {"$oid": identity[:24]},
        "filepath": image.path_in_release,
        "tags": [image.split],
        "metadata": {
            "_cls": "ImageMetadata",
            "size_bytes": image.size_bytes,
            "width": image.width,
            "height": image.height,
        },
        "_media_type": "image",
        "_rand": int(identity[24:], 16) / 2**32,
        "frame_id": image.frame_id,
        "video_key": image.video_key,
        "pts_seconds": image.pts_seconds,
        LABELS_FIELD: {
            "_cls": "Detections",
            "detections": [_detection(image, number, box_id, columns) for number, box_id in enumerate(box_ids(image))],
        },
    }


def _detection(image: ReleaseImage, number: int, box_id: str, columns: Sequence[str]) -> dict[str, object]:
    box = image.boxes[number]
    left, top, right, bottom = (round(share, RELATIVE_DECIMALS) for share in relative_box(box, image))
    width, height = round(right - left, RELATIVE_DECIMALS), round(bottom - top, RELATIVE_DECIMALS)
    return {
        "_id": {"$oid": fingerprint_of({"frame": image.frame_id, "box": box_id})[:24]},
        "_cls": "Detection",
        "attributes": {},
        "tags": [],
        "label": box.class_name,
        "bounding_box": [left, top, width, height],
        "confidence": box.confidence,
        "box_id": box_id,
        "detector": box.detector,
        "answer_id": box.answer_id,
        **{name: getattr(box, name) for name in columns},
    }


def read_fiftyone(path: Path) -> Iterator[ReturnedImage]:
    """Yield the images that FiftyOne exported as `FiftyOneDataset` or `FiftyOneImageDetectionDataset`.

    An image whose sample has the tag `reviewed` was reviewed. FiftyOne does not say whether other images were.
    `FiftyOneImageDetectionDataset` has no tags.

    Args:
        path: the folder, or the JSON file in it.

    Raises:
        ConfigError: the file is missing, unreadable, too large, or not an export by FiftyOne in one of these formats.
    """
    names = (SAMPLES_FILE, LABELS_FILE)
    file = next((path / name for name in names if (path / name).is_file()), path) if path.is_dir() else path
    if file.is_dir():
        raise ConfigError(f"{path} has neither {' nor '.join(names)}; give the folder that {_TOOL} exported")
    content = read_returned_json(file, _TOOL)
    try:
        if "samples" in content:
            yield from map(_of_sample, content["samples"])
        else:
            for name, detections in content["labels"].items():
                yield _image_of(name, detections or (), classes=content.get("classes"))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {str(error)[:80]}"
        raise ConfigError(
            f"{file} is not a dataset exported by {_TOOL} ({why}); export it as FiftyOneDataset"
        ) from error


def _of_sample(sample: Mapping[str, Any]) -> ReturnedImage:
    is_reviewed = True if REVIEWED in sample["tags"] else None
    labels = sample.get(LABELS_FIELD) or {}
    return _image_of(sample["filepath"], labels.get("detections", ()), is_reviewed, sample.get("frame_id"))


def _image_of(
    name: str,
    detections: Sequence[Mapping[str, Any]],
    is_reviewed: bool | None = None,
    frame_id: str | None = None,
    *,
    classes: Sequence[str] | None = None,
) -> ReturnedImage:
    boxes = []
    for detection in detections:
        label = detection["label"]
        x, y, width, height = map(float, detection["bounding_box"])
        box_id = detection.get("box_id") or (detection.get("attributes") or {}).get("box_id")
        name_of_class = classes[label] if isinstance(label, int) and classes else str(label)
        boxes.append(ReturnedBox(name_of_class, (x, y, x + width, y + height), box_id))
    return ReturnedImage(name, tuple(boxes), is_reviewed, frame_id)


def fiftyone_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the dataset's document and its samples."""
    if json.loads((folder / METADATA_FILE).read_text(encoding="utf-8")) != dataset_document(expected.header):
        yield f"{METADATA_FILE}: the content does not match {expected.header.title}"
    columns = ("box_id", "confidence", "answer_id", *_columns(expected.header))
    samples = read_entries(folder / SAMPLES_FILE, "samples")
    for sample, image in zip_longest(samples, expected.read_images()):
        if sample is None or image is None:
            yield f"{SAMPLES_FILE}: there are {'more' if image is None else 'fewer'} samples than images"
            return
        found = (sample["filepath"], sample["frame_id"], sample["pts_seconds"], sample["tags"])
        wanted = (image.path_in_release, image.frame_id, image.pts_seconds, [image.split])
        if found != wanted:
            yield f"{SAMPLES_FILE}: a sample has {found}, expected {wanted}"
            return
        class_names = expected.header.class_names
        boxes = [(class_names.index(box.class_name), box_in_pixels(box.box, image)) for box in _of_sample(sample).boxes]
        yield from label_problems(image, image.boxes, boxes, PIXEL_TOLERANCE)
        details = [tuple(entry[name] for name in columns) for entry in sample[LABELS_FIELD]["detections"]]
        names = zip(box_ids(image), image.boxes, strict=True)
        if details != [(box_id, *(getattr(box, name) for name in columns[1:])) for box_id, box in names]:
            yield f"{image.file_name}: the ids, confidences, answers or verdicts of its boxes differ"


CODEC: Final = round_trip_codec(lambda to: FiftyOneWriter(to.folder, to.header), fiftyone_problems)
