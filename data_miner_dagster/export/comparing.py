"""Check what several formats have in common: an image's boxes, and the number of files."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Final

from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.export.records import ReleaseBox, ReleaseImage

PIXEL_TOLERANCE: Final = 2e-3
"""The tolerance for coordinates, in pixels. Formats that store a width and a height round them to three decimals."""
Corners = tuple[float, float, float, float]
FoundBox = tuple[int, Corners]
"""Class index and corners in pixels, as read from a format."""


def file_number_problems(folder: Path, expected: int, *, suffix: str = "", without: str | None = None) -> Iterator[str]:
    """Yield a line if the number of files below a folder is not `expected`.

    A file counts if its name ends in `suffix` and its extension, including the dot, is not `without`.
    """
    found = sum(name.endswith(suffix) and PurePath(name).suffix != without for name in _file_names(folder))
    if found != expected:
        yield f"{folder.name}: {counted(found, f'{suffix} file'.lstrip())}, expected {expected}"


def _file_names(folder: str | Path) -> Iterator[str]:
    """Yield the names of the files below a folder, without listing it in advance, since it may hold all images."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _file_names(entry.path)
            elif entry.is_file():
                yield entry.name


def label_problems(
    image: ReleaseImage, boxes: Sequence[ReleaseBox], found: Sequence[FoundBox], tolerance: float
) -> Iterator[str]:
    """Yield the differences between an image's expected boxes and those in a file. `tolerance` is in pixels."""
    if len(found) != len(boxes):
        yield f"{image.file_name}: {counted(len(found), 'label')}, expected {len(boxes)}"
        return
    for (class_index, corners), box in zip(found, boxes, strict=True):
        is_near = all(abs(one - other) <= tolerance for one, other in zip(corners, box.box_xyxy, strict=True))
        if class_index != box.class_index or not is_near:
            label, wanted = f"label of class {class_index} at {corners}", f"class {box.class_index} at {box.box_xyxy}"
            yield f"{image.file_name}: the {label} does not match the box of {wanted}"


def corners_of(x: float, y: float, width: float, height: float) -> Corners:
    """Convert a box given by its upper left corner and size to (left, top, right, bottom)."""
    return x, y, x + width, y + height
