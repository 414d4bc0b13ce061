"""Try a stage on any folder of pictures: read the pictures, define the result of a trial, and draw it.

No catalog or root is needed, and nothing is stored except the contact sheet, if requested. The stages and models
are the real ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import ConfigError, UnreadableImageError
from data_miner_dagster.domain.records import PictureFile, RgbImage
from data_miner_dagster.media.contact_sheets import Tile, TileBox, Verdict, contact_sheet
from data_miner_dagster.operations.foreign.media_workers import MediaWorkers, media_workers
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.sites.folders import folders_below
from data_miner_dagster.storage.atomic import atomic_path

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
UNREADABLE: Final = "unreadable"
MAX_TILES: Final = 120
MAX_SHEET_BYTES: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One picture and the stage's result for it: a row of the table and a tile of the contact sheet."""

    path: Path
    cells: tuple[str, ...]  # one per column of the trial
    caption: str
    verdict: Verdict
    boxes: tuple[TileBox, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A stage's results for a folder. `columns` are the headings after the file name, and `summary` is one line.

    `shown_first` are tiles that come before the folder's pictures on the contact sheet.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[TrialRow, ...]
    summary: str
    shown_first: tuple[Tile, ...] = ()


def folder_images(folder: Path, *, limit: int | None = None) -> list[Path]:
    """Return the sorted paths of images in a folder and its subfolders: the first `limit`, or all if it is None.

    Hidden files and subfolders are left out. Each linked folder is searched once.

    Raises:
        ConfigError: the folder does not exist, or contains no image.
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; give a folder that contains images")
    paths = sorted(
        path
        for _, paths_inside in folders_below(folder)
        for path in paths_inside
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not paths:
        raise ConfigError(
            f"neither {folder} nor its subfolders contain an image ({', '.join(sorted(IMAGE_SUFFIXES))}); choose "
            "another folder"
        )
    return paths[:limit]


def read_in_batches(
    paths: Sequence[Path], batch_size: int
) -> Iterator[tuple[list[Path], list[RgbImage], list[tuple[Path, str]]]]:
    """Yield each batch's readable paths, their full-size images, and its unreadable paths with the reasons."""
    with media_workers(DownloadingConfig()) as media:
        for start in range(0, len(paths), batch_size):
            readable: list[Path] = []
            images: list[RgbImage] = []
            unreadable: list[tuple[Path, str]] = []
            for path in paths[start : start + batch_size]:
                seen = attempt_alone("try", str(path), partial(_seen, media, path))
                if isinstance(seen, list):
                    images += seen
                    readable.append(path)
                else:
                    why = seen.line if isinstance(seen, ItemFault) else seen
                    unreadable.append((path, f"{path} cannot be read: {why}"))
            yield readable, images, unreadable


def _seen(media: MediaWorkers, path: Path) -> list[RgbImage] | str:
    """Return a list with the picture in a file, or the reason why the picture cannot be read."""
    try:
        return list(media.see(path.read_bytes()))
    except UnreadableImageError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def write_contact_sheet(trial: Trial, path: Path) -> int:
    """Write a contact sheet of a trial's first pictures as WebP, atomically. Return how many pictures it shows.

    The pictures in `shown_first` are not counted.
    """
    tiles = [
        Tile(PictureFile(row.path, is_foreign=True), row.caption, row.verdict, row.boxes)
        for row in trial.rows[:MAX_TILES]
    ]
    with StoredPictures(ExtractionConfig()) as pictures:
        content = contact_sheet([*trial.shown_first, *tiles], pictures, columns=6, max_bytes=MAX_SHEET_BYTES)
    with atomic_path(path) as partial:
        partial.write_bytes(content)
    return len(tiles)
