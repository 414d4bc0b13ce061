"""Write COCO JSON as a stream, with one file per split and one for all splits, and read it back.

Source: https://cocodataset.org/#format-data. Extra keys record the origin of images and the detectors of annotations.
Readers ignore unknown keys. An unsure box is a region to ignore (`iscrowd`): pycocotools counts predictions on it
neither as right nor as wrong. For a box with a mask, `segmentation` (outlines.py) and `area` describe the mask. For any
other box, `segmentation` is empty and `area` is the area of the box.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.masks import Mask, mask_iou
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.tracks import sightings_as_rows
from data_miner_dagster.export.codec import Codec, Expected
from data_miner_dagster.export.comparing import PIXEL_TOLERANCE, corners_of, label_problems
from data_miner_dagster.export.outlines import MIN_IOU, coco_segmentation, mask_of_coco
from data_miner_dagster.export.records import ReleaseBox, ReleaseHeader, ReleaseImage
from data_miner_dagster.export.spooled_json import SpooledJson, read_entries, read_facts

ALL_SPLITS: Final = "all"
MAX_COCO_BYTES: Final = 4 << 20
"""The largest file that is read back with pycocotools, which needs about ten times its size in memory. Larger files are
read back as a stream."""
_LISTS: Final = ("images", "annotations")

_SAID: Final = (
    *("verdict", "answer_id", "confidence_calibrated", "verifier_verdict"),
    *("track_id", "recovered", "recovered_from"),
)
"""Keys of an annotation that are omitted if their value is None."""


def annotation_file(folder: Path, split: str) -> Path:
    """Return the path of a split's annotations inside a release."""
    return folder / "annotations" / f"instances_{split}.json"


class CocoWriter:
    """Writes `annotations/instances_<split>.json` and `instances_all.json` in bounded memory.

    Image and annotation ids are unique within the release and the same in every file. `file_name` is relative to
    `images/`. Category ids count from 1 in the order of the class list.
    """

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        (folder / "annotations").mkdir()
        self._num_annotations = 0
        self._files = {
            split: SpooledJson(annotation_file(folder, split), coco_facts(header), _LISTS)
            for split in (*header.splits, ALL_SPLITS)
        }

    def add(self, image: ReleaseImage) -> None:
        """Write one image and its boxes to the file of its split and to the file of all splits."""
        annotations = []
        for box in image.boxes:
            self._num_annotations += 1
            annotations.append(_annotation(self._num_annotations, image.image_id, box))
        for split in (image.split, ALL_SPLITS):
            self._files[split].add_first(_image(image))
            for annotation in annotations:
                self._files[split].add_second(annotation)

    def close(self) -> None:
        """Finish and close every file, even if another one cannot be finished."""
        with contextlib.ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)


def read_coco(path: Path) -> Any:
    """Load annotations with the format's reference library, as an indexed `pycocotools.coco.COCO`."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        return COCO(str(path))


def coco_facts(header: ReleaseHeader) -> dict[str, object]:
    """Return the header of a COCO file: info, licences and categories. A YouTube-VIS file has the same header."""
    return {
        "info": {"description": header.description or header.title, "version": header.version},
        "licenses": [],
        "categories": [
            {"id": index + 1, "name": name, "supercategory": ""} for index, name in enumerate(header.class_names)
        ],
    }


def _image(image: ReleaseImage) -> dict[str, object]:
    return {
        "id": image.image_id,
        "file_name": image.file_name,
        "width": image.width,
        "height": image.height,
        "split": image.split,
        "frame_id": image.frame_id,
        "video_key": image.video_key,
        "video_url": image.video_url,
        "pts_seconds": image.pts_seconds,
        "similarity": image.similarity,
        "similar_prompt": image.similar_prompt,
        "num_duplicates": image.num_duplicates,
    }


def _annotation(annotation_id: int, image_id: int, box: ReleaseBox) -> dict[str, object]:
    x_min, y_min, x_max, y_max = box.box_xyxy
    width, height = round(x_max - x_min, 3), round(y_max - y_min, 3)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": box.class_index + 1,
        "bbox": [x_min, y_min, width, height],
        "area": round(width * height, 3) if box.mask is None else box.mask.area,
        "iscrowd": int(box.is_unsure),
        "segmentation": [] if box.mask is None else coco_segmentation(box.mask, is_crowd=box.is_unsure),
        "confidence": box.confidence,
        "prompt": box.prompt,
        "detector": box.detector,
        "num_agreeing_detectors": box.num_agreeing_detectors,
        **{key: value for key, value in _said_of(box).items() if value is not None},
    }


def _said_of(box: ReleaseBox) -> dict[str, object]:
    return {key: getattr(box, key) for key in _SAID} | {"recovered_from": sightings_as_rows(box.recovered_from)}


def coco_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems in the files below `annotations/`, in bounded memory."""
    for split in (*expected.header.splits, ALL_SPLITS):
        path = annotation_file(folder, split)
        read_back = _whole_file_problems if path.stat().st_size <= MAX_COCO_BYTES else _streamed_problems
        yield from (f"{path.name}: {line}" for line in read_back(path, split, expected))


def _whole_file_problems(path: Path, split: str, expected: Expected) -> Iterator[str]:
    """Yield the problems in a file, reading all of it with pycocotools."""
    coco = read_coco(path)
    dataset = coco.dataset
    yield from _number_problems((len(dataset["images"]), len(dataset["annotations"])), split, expected)
    yield from _category_problems(dataset["categories"], expected.header)
    for image in _images_of(split, expected):
        if (entry := coco.imgs.get(image.image_id)) is None:
            yield f"there is no image {image.file_name}"
        else:
            yield from _image_problems(entry, coco.imgToAnns.get(image.image_id, []), image)


def _streamed_problems(path: Path, split: str, expected: Expected) -> Iterator[str]:
    """Yield the problems in a file, reading it as a stream of one entry per line, in image order."""
    yield from _category_problems(read_facts(path)["categories"], expected.header)
    images, annotations = (_Counted(read_entries(path, name)) for name in _LISTS)
    for image in _images_of(split, expected):
        entry = images.next_of(lambda entry: entry["id"], image.image_id)
        if entry is None:
            yield f"there is no image {image.file_name}"
            continue
        own = []
        while (annotation := annotations.next_of(lambda entry: entry["image_id"], image.image_id)) is not None:
            own.append(annotation)
        yield from _image_problems(entry, own, image)
    yield from _number_problems((images.count(), annotations.count()), split, expected)


class _Counted:
    """Reads a list one entry at a time and counts its entries."""

    def __init__(self, entries: Iterator[Any]) -> None:
        self._entries = entries
        self._next: Any = next(entries, None)
        self._num_read = 0

    def next_of(self, id_of: Callable[[Any], int], wanted: int) -> Any:
        """Skip entries with an id below `wanted`, and return the next one if its id is `wanted`, or else None."""
        while self._next is not None and id_of(self._next) < wanted:
            self._advance()
        if self._next is None or id_of(self._next) != wanted:
            return None
        return self._advance()

    def count(self) -> int:
        """Read the list to its end, and return the number of entries."""
        while self._next is not None:
            self._advance()
        return self._num_read

    def _advance(self) -> Any:
        entry, self._next = self._next, next(self._entries, None)
        self._num_read += 1
        return entry


def _images_of(split: str, expected: Expected) -> Iterator[ReleaseImage]:
    return (image for image in expected.read_images() if split in (ALL_SPLITS, image.split))


def _number_problems(found: tuple[int, int], split: str, expected: Expected) -> Iterator[str]:
    tally, is_whole = expected.tally, split == ALL_SPLITS
    num_images = tally.num_images if is_whole else tally.images_by_split[split]
    num_boxes = tally.num_boxes if is_whole else tally.boxes_by_split[split]
    num_boxes += tally.num_unsure_boxes if is_whole else tally.unsure_boxes_by_split[split]
    if found != (num_images, num_boxes):
        yield (
            f"{counted(found[0], 'image')} and {counted(found[1], 'box', 'boxes')}, expected {num_images} and "
            f"{num_boxes}"
        )


def _category_problems(categories: Sequence[Mapping[str, Any]], header: ReleaseHeader) -> Iterator[str]:
    names = {category["id"]: category["name"] for category in categories}
    if names != (wanted := dict(enumerate(header.class_names, 1))):
        yield f"the categories are {names}, expected {wanted}"


def _image_problems(
    entry: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], image: ReleaseImage
) -> Iterator[str]:
    found = tuple(entry[name] for name in ("file_name", "width", "height", "split"))
    wanted = (image.file_name, image.width, image.height, image.split)
    if found != wanted:
        yield f"image {image.image_id} is {found}, expected {wanted}"
    boxes = [(annotation["category_id"] - 1, corners_of(*annotation["bbox"])) for annotation in annotations]
    yield from label_problems(image, image.boxes, boxes, PIXEL_TOLERANCE)
    for annotation, box in zip(annotations, image.boxes, strict=False):
        _, _, width, height = annotation["bbox"]
        if box.mask is not None:
            yield from (f"{image.file_name}: {line}" for line in _mask_problems(annotation, box.mask))
        elif not abs(annotation["area"] - width * height) <= PIXEL_TOLERANCE:
            yield f"{image.file_name}: a box of {width} by {height} pixels has the area {annotation['area']}"
        elif annotation["segmentation"]:
            yield f"{image.file_name}: a box without a mask has a segmentation"
        if annotation["iscrowd"] != box.is_unsure:
            yield f"{image.file_name}: iscrowd is {annotation['iscrowd']} for {_in_words(box)}"
        for key, said in _said_of(box).items():
            if annotation.get(key) != said:
                yield f"{image.file_name}: {key} of a box is {annotation.get(key)!r}, expected {said!r}"


def _mask_problems(annotation: Mapping[str, Any], mask: Mask) -> Iterator[str]:
    if annotation["area"] != mask.area:
        yield f"a box has the area {annotation['area']}, but its mask has {counted(mask.area, 'pixel')}"
    found = mask_of_coco(annotation["segmentation"], mask.resolution_wh)
    iou = mask_iou(found, mask) if found.resolution_wh == mask.resolution_wh else 0.0
    if not iou >= MIN_IOU:
        yield f"the segmentation of a box has an IoU of only {iou:.3f} with its mask"


def _in_words(box: ReleaseBox) -> str:
    return "an unsure box" if box.is_unsure else "a box that is not unsure"


CODEC: Final = Codec(lambda to: CocoWriter(to.folder, to.header), (coco_problems,))
