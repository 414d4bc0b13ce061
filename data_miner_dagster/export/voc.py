"""Write Pascal VOC: one XML file per image, the images, and a list of images per split.

Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. Boxes are rounded
outwards to whole pixels, as crops are. Pixels are counted from 1, and a box includes its last pixel. An unsure box is
marked as `difficult`, so VOC's evaluation ignores it.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final
from xml.etree import ElementTree

from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.export.codec import Codec, Expected
from data_miner_dagster.export.comparing import FoundBox, file_number_problems, label_problems
from data_miner_dagster.export.crops import crop_corners
from data_miner_dagster.export.records import ReleaseBox, ReleaseHeader, ReleaseImage
from data_miner_dagster.export.round_trips import check_labels

_IMAGES: Final = "JPEGImages"
_ANNOTATIONS: Final = "Annotations"
_SETS: Final = "ImageSets/Main"


class VocWriter:
    """Writes `Annotations/<image>.xml`, `JPEGImages/<image>` and `ImageSets/Main/<split>.txt`.

    Raises:
        ConfigError: a class name has control characters.
    """

    def __init__(self, folder: Path, header: ReleaseHeader, release: Path) -> None:
        check_labels(header, "VOC", lambda _name: None)
        self._folder = folder
        self._header = header
        self._release = release
        for name in (_IMAGES, _ANNOTATIONS, _SETS):
            (folder / name).mkdir(parents=True)
        self._sets = {split: (folder / _SETS / f"{split}.txt").open("w", encoding="utf-8") for split in header.splits}

    def add(self, image: ReleaseImage) -> None:
        """Write one image, its boxes, and its line in the split's list."""
        file = PurePosixPath(image.file_name)
        shutil.copyfile(self._release / image.path_in_release, self._folder / _IMAGES / file.name)
        root = _annotation(image, self._header.title)
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(self._folder / _ANNOTATIONS / f"{file.stem}.xml", encoding="utf-8")
        self._sets[image.split].write(f"{file.stem}\n")

    def close(self) -> None:
        """Close the lists."""
        with contextlib.ExitStack() as stack:
            for file in self._sets.values():
                stack.callback(file.close)


def _annotation(image: ReleaseImage, title: str) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _add(root, folder=_IMAGES, filename=PurePosixPath(image.file_name).name)
    _add(ElementTree.SubElement(root, "source"), database=title, image=image.video_url)
    _add(ElementTree.SubElement(root, "size"), width=image.width, height=image.height, depth=3)
    _add(root, segmented=0)
    for box in image.boxes:
        left, top, right, bottom = crop_corners(box)
        element = ElementTree.SubElement(root, "object")
        _add(element, name=box.class_name, pose="Unspecified", truncated=0, difficult=int(box.is_unsure))
        _add(ElementTree.SubElement(element, "bndbox"), xmin=left + 1, ymin=top + 1, xmax=right, ymax=bottom)
    return root


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)


def voc_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the images, the annotations and the lists."""
    with contextlib.ExitStack() as stack:
        lists = {
            split: stack.enter_context((folder / _SETS / f"{split}.txt").open(encoding="utf-8"))
            for split in expected.header.splits
        }
        wrong_lists = set()
        for image in expected.read_images():
            file = PurePosixPath(image.file_name)
            if lists[image.split].readline() != f"{file.stem}\n":
                wrong_lists.add(image.split)
            copy, annotation = folder / _IMAGES / file.name, folder / _ANNOTATIONS / f"{file.stem}.xml"
            if not copy.is_file() or not annotation.is_file():
                yield f"the image or annotation of {image.file_name} is missing"
                continue
            if sha256_of_file(copy) != image.sha256:
                yield f"{image.file_name}: its copy differs from the image"
            yield from _annotation_problems(annotation, image, expected.header.class_names)
        for split, lines in lists.items():
            if split in wrong_lists or lines.readline():
                num_images = expected.tally.images_by_split[split]
                yield f"{split}.txt: it does not list the {counted(num_images, 'image')} of its split"
    for name in (_IMAGES, _ANNOTATIONS):
        yield from file_number_problems(folder / name, expected.tally.num_images)


def _annotation_problems(path: Path, image: ReleaseImage, class_names: tuple[str, ...]) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if "<!" in text:
        raise ValueError(f"{path.name} declares a document type or entities")
    root = ElementTree.fromstring(text)  # noqa: S314 - see above
    found_wh = tuple(int(root.findtext(f"size/{name}", "")) for name in ("width", "height"))
    if found_wh != (image.width, image.height) or not image.file_name.endswith(f"/{root.findtext('filename')}"):
        wanted = f"{(image.width, image.height)} pixels of {image.file_name}"
        yield f"{path.name}: it describes {found_wh} pixels of {root.findtext('filename')}, expected {wanted}"
    found: list[FoundBox] = []
    for element in root.iterfind("object"):
        x_min, y_min, x_max, y_max = (
            int(element.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")
        )
        found.append((class_names.index(element.findtext("name", "")), (x_min - 1, y_min - 1, x_max, y_max)))
    boxes = [_in_whole_pixels(box) for box in image.boxes]
    yield from label_problems(image, boxes, found, tolerance=0)
    difficult = [element.findtext("difficult") == "1" for element in root.iterfind("object")]
    if difficult != [box.is_unsure for box in image.boxes]:
        yield f"{path.name}: the boxes marked as difficult are not the unsure ones"


def _in_whole_pixels(box: ReleaseBox) -> ReleaseBox:
    return replace(box, box_xyxy=crop_corners(box))


CODEC: Final = Codec(lambda to: VocWriter(to.folder, to.header, to.release), (voc_problems,))
