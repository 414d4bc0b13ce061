"""Crops: one JPEG per box, in folders by split and class, as image classification wants them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image, ImageOps

from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage

CROP_QUALITY: Final = 92


class CropsWriter:
    """Writes `<split>/<class id>_<class>/<image>_<box>.jpg`, from the images of a release.

    Class names are free text: everything but letters, digits and '-' becomes '_', and the id keeps them apart.

    Args:
        folder: where to.
        header: of the release.
        release: its folder.
        attempt: given (frame id and box, work) of each crop, it does the work, or goes on without.
    """

    def __init__(
        self, folder: Path, header: ReleaseHeader, release: Path, attempt: Callable[[str, Callable[[], None]], object]
    ) -> None:
        self._folder = folder
        self._release = release
        self._attempt = attempt
        self._class_folders = [
            f"{index:03d}_" + "".join(letter if letter.isalnum() or letter == "-" else "_" for letter in name)
            for index, name in enumerate(header.class_names)
        ]

    def add(self, image: ReleaseImage) -> None:
        """Write the crops of one image."""
        if not image.boxes:
            return
        stem = PurePosixPath(image.file_name).stem
        with Image.open(self._release / "images" / image.file_name) as opened:
            # A no-op but for releases from before orientation was applied to stored pictures.
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        for number, box in enumerate(image.boxes):
            path = self._folder / image.split / self._class_folders[box.class_index] / f"{stem}_{number:03d}.jpg"
            self._attempt(f"{image.frame_id} box {number}", partial(_write_crop, picture, box.box_xyxy, path))

    def close(self) -> None:
        """Nothing is left open."""


def _write_crop(picture: Image.Image, box_xyxy: tuple[float, float, float, float], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    x_min, y_min, x_max, y_max = box_xyxy
    # whole pixels, outwards: the crop holds all of the box
    corners = (int(x_min), int(y_min), -int(-x_max // 1), -int(-y_max // 1))
    picture.crop(corners).save(path, "JPEG", quality=CROP_QUALITY)
