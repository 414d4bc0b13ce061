"""Crops: one JPEG per box, in folders by split and class, as image classification wants them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image

from data_miner_dagster.domain.keys import has_foreign_pictures
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.export.codec import Codec, Expected
from data_miner_dagster.export.comparing import file_number_problems
from data_miner_dagster.export.records import ReleaseBox, ReleaseImage
from data_miner_dagster.protocols.pictures import PictureReader

CROP_QUALITY: Final = 92


def crop_file(folder: Path, image: ReleaseImage, number: int) -> Path:
    """Return the path of the crop of an image's box: `<split>/<class id>_<class>/<image>_<box>.jpg`.

    Class names are free text: everything but letters, digits and '-' becomes '_', and the id keeps them apart.
    """
    box = image.boxes[number]
    name = "".join(letter if letter.isalnum() or letter == "-" else "_" for letter in box.class_name)
    stem = PurePosixPath(image.file_name).stem
    return folder / image.split / f"{box.class_index:03d}_{name}" / f"{stem}_{number:03d}.jpg"


def crop_corners(box: ReleaseBox) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom in whole pixels, outwards: the crop holds all of the box."""
    x_min, y_min, x_max, y_max = box.box_xyxy
    return int(x_min), int(y_min), -int(-x_max // 1), -int(-y_max // 1)


def crop_name(image: ReleaseImage, number: int) -> str:
    """Return what a crop is called where it is told of."""
    return f"{image.frame_id} box {number}"


class CropsWriter:
    """Writes one JPEG per box, from the images of a release.

    Args:
        folder: where to.
        release: its folder.
        pictures: reads the images.
        attempt: given (frame id and box, work) of each crop, it does the work, or goes on without.
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
        """Write the crops of one image."""
        if not image.boxes:
            return
        file = PictureFile(self._release / image.path_in_release, has_foreign_pictures(image.video_key))
        picture = Image.fromarray(self._pictures.see(file).rgb)
        for number, box in enumerate(image.boxes):
            path = crop_file(self._folder, image, number)
            self._attempt(crop_name(image, number), partial(_write_crop, picture, crop_corners(box), path))

    def close(self) -> None:
        """Nothing is left open."""


def _write_crop(picture: Image.Image, corners: tuple[int, int, int, int], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.crop(corners).save(path, "JPEG", quality=CROP_QUALITY)


def crops_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield what is wrong with crops: each is decoded, and has the size of its box."""
    for image in expected.read_images():
        for number, box in enumerate(image.boxes):
            if crop_name(image, number) in expected.missing_parts:
                continue
            path = crop_file(folder, image, number)
            name = path.relative_to(folder).as_posix()
            if not path.is_file():
                yield f"there is no crop {name}"
                continue
            left, top, right, bottom = crop_corners(box)
            with Image.open(path) as opened:
                opened.load()
                if opened.size != (right - left, bottom - top):
                    yield f"{name}: {opened.size} pixels, expected {(right - left, bottom - top)}"
    yield from file_number_problems(folder, expected.tally.num_boxes - len(expected.missing_parts), suffix=".jpg")


CODEC: Final = Codec(
    lambda to: CropsWriter(to.folder, to.release, to.pictures, to.attempt),
    (crops_problems,),
    attempts_parts=True,
)
