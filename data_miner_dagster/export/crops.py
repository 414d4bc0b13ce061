"""Write a crop of each box, in folders by split and class, for image classification. Unsure boxes have no crop.

The crop of a box without a mask is a JPEG. The crop of a box with a mask is a PNG, since JPEG lacks an alpha channel
for the mask.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_miner_dagster.domain.keys import has_foreign_pictures
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.export.codec import Codec, Expected
from data_miner_dagster.export.comparing import file_number_problems
from data_miner_dagster.export.records import ReleaseBox, ReleaseImage
from data_miner_dagster.protocols.pictures import PictureReader

CROP_QUALITY: Final = 92
MAX_NAME_BYTES: Final = 240
"""The maximum number of bytes of a class name in a folder name. File systems allow 255 bytes for the whole name."""


def crop_file(folder: Path, image: ReleaseImage, number: int) -> Path:
    """Return the path of the crop of label `number`: `<split>/<class id>_<class>/<image>_<box>.jpg`, or `.png`.

    Labels are numbered from 0 within an image. Class names are free text, so every character except letters, digits and
    '-' becomes '_', and long names are cut off. The class id keeps paths unique.
    """
    box = image.labels[number]
    name = "".join(letter if letter.isalnum() or letter == "-" else "_" for letter in box.class_name)
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    stem = PurePosixPath(image.file_name).stem
    return (
        folder
        / image.split
        / f"{box.class_index:03d}_{name}"
        / f"{stem}_{number:03d}.{'jpg' if box.mask is None else 'png'}"
    )


def crop_corners(box: ReleaseBox) -> tuple[int, int, int, int]:
    """Return the crop's (left, top, right, bottom) in whole pixels, rounded outwards to contain the whole box."""
    x_min, y_min, x_max, y_max = box.box_xyxy
    return int(x_min), int(y_min), -int(-x_max // 1), -int(-y_max // 1)


def crop_name(image: ReleaseImage, number: int) -> str:
    """Return the name of the crop of label `number`, counting from 0, for messages and for `Expected.missing_parts`."""
    return f"{image.frame_id} box {number}"


class CropsWriter:
    """Writes a crop of each box as a JPEG or PNG, from the images of a release. Unsure boxes have no crop.

    Args:
        folder: the folder to write to.
        release: the folder of the release.
        pictures: decodes the images.
        attempt: called with (crop name, work) for each crop. It runs `work`, and may skip the crop if `work` fails.
    """

    def __init__(
        self,
        folder: Path,
        release: Path,
        pictures: PictureReader,
        attempt: Callable[[str, Callable[[], None]], object],
    ) -> None:
        self._folder = folder
        self._release = release
        self._pictures = pictures
        self._attempt = attempt

    def add(self, image: ReleaseImage) -> None:
        """Write the crops of one image.

        Raises:
            UnreadableImageError: the image cannot be decoded.
        """
        if not image.labels:
            return
        file = PictureFile(self._release / image.path_in_release, has_foreign_pictures(image.video_key))
        picture = Image.fromarray(self._pictures.see(file).rgb)
        for number, box in enumerate(image.labels):
            path = crop_file(self._folder, image, number)
            self._attempt(crop_name(image, number), partial(_write_crop, picture, box, path))

    def close(self) -> None:
        """Do nothing, since no file is left open."""


def _write_crop(picture: Image.Image, box: ReleaseBox, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    crop = picture.crop(crop_corners(box))
    if box.mask is None:
        crop.save(path, "JPEG", quality=CROP_QUALITY)
    else:
        crop.putalpha(Image.fromarray(_alpha_of(box.mask, box)))
        crop.save(path, "PNG")


def _alpha_of(mask: Mask, box: ReleaseBox) -> npt.NDArray[np.uint8]:
    left, top, right, bottom = crop_corners(box)
    return mask.pixels()[top:bottom, left:right].astype(np.uint8) * np.uint8(255)


def crops_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the crops: each must exist, decode, and have the size and the mask of its box."""
    num_crops = {".jpg": 0, ".png": 0}
    for image in expected.read_images():
        for number, box in enumerate(image.labels):
            if crop_name(image, number) in expected.missing_parts:
                continue
            path = crop_file(folder, image, number)
            num_crops[path.suffix] += 1
            name = path.relative_to(folder).as_posix()
            if not path.is_file():
                yield f"there is no crop {name}"
                continue
            left, top, right, bottom = crop_corners(box)
            with Image.open(path) as opened:
                opened.load()
                if opened.size != (right - left, bottom - top):
                    yield f"{name}: the crop has {opened.size} pixels, expected {(right - left, bottom - top)}"
                elif box.mask is not None and not np.array_equal(
                    np.asarray(opened.getchannel("A")), _alpha_of(box.mask, box)
                ):
                    yield f"{name}: its alpha channel differs from the mask of the box"
    for suffix, number in num_crops.items():
        yield from file_number_problems(folder, number, suffix=suffix)


CODEC: Final = Codec(
    lambda to: CropsWriter(to.folder, to.release, to.pictures, to.attempt),
    (crops_problems,),
    attempts_parts=True,
)
