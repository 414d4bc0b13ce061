"""Make many clips of all kinds, some of them bad on purpose, each with its required outcome.

The same number always gives the same bytes. Half of the clips are in folders, half are served.
"""

import io
import urllib.parse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster_tests.real_size.bad_kinds import BAD_KINDS, NUM_PICTURES, BadKind
from data_miner_dagster_tests.real_size.kinds import SPECIAL_KINDS, GoodKind, crossed_kind
from data_miner_dagster_tests.real_size.names import name_of
from data_miner_dagster_tests.real_size.pictures import scene_pictures
from data_miner_dagster_tests.sites.hostile_server import Answer, whole_file

_ONE_BAD_IN: Final = 10
"""By default, one in this many clips is bad."""
PART_SIZE: Final = 10
"""The maximum number of clips in one subfolder. There are several, so that a project can include only some."""
_NUM_SCENES: Final = 70
"""Clips of one scene are near-duplicates: of 200 clips, about three show the same scene."""


class Place(StrEnum):
    """Where the project finds a clip."""

    FOLDER = "folder"
    NAMED = "named"
    URL = "url"
    FEED = "feed"
    FRAMES = "frames"

    @property
    def is_served(self) -> bool:
        """True if the clip is fetched over HTTP."""
        return self in (Place.URL, Place.FEED)


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip with its required outcome: times if it is good, the permitted reasons for refusal if it is bad."""

    number: int
    kind: str
    place: Place
    path: Path  # of the file, even if it is served
    times: tuple[Fraction, ...] = ()  # of the shown pictures, relative to the first
    numbers: tuple[int, ...] = ()  # stamped on these pictures
    tolerance: Fraction = Fraction(0)
    has_stamps: bool = True
    reasons: frozenset[VideoErrorKind] = frozenset()
    answer: Answer | None = None
    parts: Mapping[str, bytes] = field(default_factory=dict)  # other content to serve, by path

    @property
    def is_good(self) -> bool:
        """True if the clip must be accepted."""
        return not self.reasons

    @property
    def route(self) -> str:
        """The path under which the clip is served, percent-encoded."""
        return "/" + urllib.parse.quote(self.path.name)


def make_collection(
    folder: Path, number: int, samples: Sequence[Path], *, one_bad_in: int = _ONE_BAD_IN, workers: int = 2
) -> list[Clip]:
    """Write `number` clips below a folder and return them; some show parts of `samples`, which are real clips."""
    for name in ("disk", "served", "named", "making"):
        (folder / name).mkdir(parents=True)
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda position: _make(folder, position, one_bad_in, tuple(samples)), range(number)))


def _make(folder: Path, position: int, one_bad_in: int, samples: tuple[Path, ...]) -> Clip:
    if position % one_bad_in == one_bad_in - 1:
        return _make_bad(folder, position, BAD_KINDS[position // one_bad_in % len(BAD_KINDS)], samples)
    good = position - position // one_bad_in  # the number of good clips before this one
    if good < len(FRAME_FOLDERS):
        return _make_frames(folder, position, good, samples)
    good -= len(FRAME_FOLDERS)
    kind = SPECIAL_KINDS[good] if good < len(SPECIAL_KINDS) else crossed_kind(good - len(SPECIAL_KINDS))
    return _make_good(folder, position, kind, samples)


def _path(folder: Path, position: int, suffix: str, place: Place) -> Path:
    name = {Place.NAMED: "named", Place.FOLDER: "disk"}.get(place, "served")
    parent = folder / name / f"part {position // PART_SIZE}" if place is Place.FOLDER else folder / name
    parent.mkdir(exist_ok=True)
    # File names in YAML are interpolated; names of files found in folders are not.
    return parent / (f"named {position}.{suffix}" if place is Place.NAMED else name_of(position, suffix))


def _plain_path(folder: Path, position: int, suffix: str) -> Path:
    """Return a safe path for making a file, since libavformat interprets patterns and protocols in names."""
    return folder / "making" / f"{position}.{suffix}"


def _place_of(position: int, kind: GoodKind) -> Place:
    is_served = kind.is_served if kind.is_served is not None else position % 2 == 1
    if is_served:
        return Place.FEED if position % 8 == 1 else Place.URL
    return Place.NAMED if kind.is_named else Place.FOLDER


def _make_good(folder: Path, position: int, kind: GoodKind, samples: tuple[Path, ...]) -> Clip:
    place = _place_of(position, kind)
    path = _path(folder, position, kind.suffix, place)
    pictures = scene_pictures(position % _NUM_SCENES, kind.num_pictures + kind.num_hidden, kind.size_wh, samples)
    kind.make(plain := _plain_path(folder, position, kind.suffix), pictures)
    plain.rename(path)
    parts = {f"/{part.name}": part.read_bytes() for part in plain.parent.glob(f"{position}-*")}
    return Clip(
        position,
        kind.name,
        place,
        path,
        times=kind.times,
        numbers=tuple(range(kind.num_hidden, kind.num_hidden + kind.num_pictures)),
        tolerance=kind.tolerance,
        has_stamps=kind.has_stamps,
        answer=whole_file(path.read_bytes(), "application/octet-stream"),
        parts=parts,
    )


def _make_bad(folder: Path, position: int, kind: BadKind, samples: tuple[Path, ...]) -> Clip:
    place = Place.URL if kind.is_served else Place.FOLDER
    path = _path(folder, position, kind.suffix, place)
    seed = position % _NUM_SCENES
    kind.make(
        plain := _plain_path(folder, position, kind.suffix), scene_pictures(seed, NUM_PICTURES, (128, 96), samples)
    )
    plain.rename(path)
    content = path.read_bytes()
    answer = kind.answer(content) if kind.answer is not None else whole_file(content)
    return Clip(position, kind.name, place, path, reasons=kind.reasons, answer=answer)


# --- folders of pictures ---


def _saved(image: Image.Image, kind: str) -> tuple[bytes, str]:
    """Return the content of a file that stores a picture in the manner `kind`, and the file's suffix."""
    content = io.BytesIO()
    match kind:
        case "exif 6":  # the camera was turned, so the stored picture lies on its side
            exif = Image.Exif()
            exif[0x0112] = 6
            image.transpose(Image.Transpose.ROTATE_90).save(content, "JPEG", quality=95, exif=exif)
            return content.getvalue(), "jpg"
        case "exif 3":
            exif = Image.Exif()
            exif[0x0112] = 3
            image.transpose(Image.Transpose.ROTATE_180).save(content, "JPEG", quality=95, exif=exif)
            return content.getvalue(), "jpeg"
        case "16 bit":
            grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
            Image.fromarray(grey).save(content, "PNG")
            return content.getvalue(), "png"
        case "alpha":
            image.convert("RGBA").save(content, "PNG")
            return content.getvalue(), "png"
        case "palette":
            image.convert("P").save(content, "PNG")
            return content.getvalue(), "PNG"
        case "cmyk":
            image.convert("CMYK").save(content, "JPEG", quality=95)
            return content.getvalue(), "jpg"
        case "two in one":
            image.save(content, "MPO", save_all=True, append_images=[image.resize((32, 24))], quality=95)
            return content.getvalue(), "JPG"
        case "grey":
            image.convert("L").save(content, "JPEG", quality=95)
            return content.getvalue(), "jpg"
        case "cut":
            image.save(content, "JPEG", quality=95)
            return content.getvalue()[: content.tell() // 3], "jpg"
        case _:
            image.save(content, "JPEG", quality=95, progressive=kind == "progressive")
            return content.getvalue(), "jpg"


FRAME_FOLDERS: Final[tuple[tuple[str, ...], ...]] = (
    ("plain", "exif 6", "16 bit", "alpha", "progressive"),
    ("two in one", "plain", "cmyk", "grey", "palette", "exif 3"),
    ("plain", "cut", "plain"),
)
"""The kinds of the pictures in each folder. Pictures of the kind `cut` are left out."""


def _make_frames(folder: Path, position: int, number: int, samples: tuple[Path, ...]) -> Clip:
    parent = folder / "pictures" / name_of(position, "photos")
    parent.mkdir(parents=True)
    kinds = FRAME_FOLDERS[number]
    pictures = scene_pictures(position, len(kinds), (160, 120), samples)
    for index, (kind, picture) in enumerate(zip(kinds, pictures, strict=True)):
        content, suffix = _saved(Image.fromarray(picture), kind)
        (parent / f"frame {index + 1}.{suffix}").write_bytes(content)
    numbers = tuple(index for index, kind in enumerate(kinds) if kind != "cut")
    times = tuple(Fraction(number) for number in numbers)
    return Clip(position, f"pictures: {', '.join(kinds)}", Place.FRAMES, parent, times=times, numbers=numbers)
