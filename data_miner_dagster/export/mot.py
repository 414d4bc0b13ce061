"""Write the layout of the MOT Challenge for TrackEval and CVAT, with one sequence per video and split.

Source: https://motchallenge.net/instructions, and for `labels.txt`
https://docs.cvat.ai/docs/dataset_management/formats/format-mot. Corners are in pixels counted from 0. The identity of
a box that a person drew is unknown, and a box that the detector is unsure of may show no object. Both kinds of boxes
have confidence 0 in the files, so evaluation ignores them.

`seqinfo.ini` states one extension for all pictures of a sequence. If a folder has pictures in several formats, its
sequence has PNGs instead, which lose nothing.
"""

import configparser
import contextlib
import csv
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.keys import has_foreign_pictures
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.export.codec import Codec, Destination, Expected
from data_miner_dagster.export.comparing import PIXEL_TOLERANCE, corners_of, file_number_problems
from data_miner_dagster.export.parquet import images_table
from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage
from data_miner_dagster.export.round_trips import check_labels
from data_miner_dagster.export.rows import read_columns
from data_miner_dagster.export.sequences import (
    ExpectedSequence,
    FollowedObject,
    Numbering,
    SequencesWriter,
    check_tracks,
    expected_sequences,
)
from data_miner_dagster.export.tracks import TrackedFrame

SEQUENCES_FILE: Final = "sequences.txt"
_PICTURES: Final = "img1"
_IN_SEVERAL_FORMATS: Final = "png"
_FRAME_COLUMNS: Final = ("frame", "pts_seconds", "frame_id")


class MotWriter(SequencesWriter):
    """Writes `gt/`, `img1/`, `seqinfo.ini` and `times.csv` in `<split>/<video>/`, and the list `<split>/sequences.txt`.

    Raises:
        ConfigError: the release has no tracks, or a class name has control characters.
        DataMinerError: the release's table of images or of tracks is damaged.
    """

    def __init__(self, to: Destination) -> None:
        check_tracks(to)
        check_labels(to.header, "MOT", lambda _name: None)
        for split in to.header.splits:
            (to.folder / split).mkdir()
            (to.folder / split / SEQUENCES_FILE).write_text("name\n", encoding="utf-8")
        extensions = _extensions(to.release)

        def open_sequence(split: str, video_key: str) -> _MotSequence:
            with (to.folder / split / SEQUENCES_FILE).open("a", encoding="utf-8") as names:
                names.write(f"{video_key}\n")
            return _MotSequence(to.folder / split / video_key, to, extensions.get((split, video_key), "jpg"))

        super().__init__(to.release, open_sequence)


class _MotSequence:
    def __init__(self, folder: Path, to: Destination, extension: str) -> None:
        self._folder = folder
        self._release = to.release
        self._reader = to.pictures
        self._extension = extension
        (folder / "gt").mkdir(parents=True)
        (folder / _PICTURES).mkdir()
        (folder / "gt" / "labels.txt").write_text(_labels(to.header), encoding="utf-8")
        self._lines = (folder / "gt" / "gt.txt").open("w", encoding="utf-8")
        self._frames = (folder / "times.csv").open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._frames, lineterminator="\n")
        self._rows.writerow(_FRAME_COLUMNS)
        self._numbering = Numbering()
        self._num_frames = 0
        self._times: list[float] = []  # the first and the last
        self._size_wh = (0, 0)

    def add_frame(self, frame: TrackedFrame) -> int:
        self._num_frames += 1
        self._rows.writerow((self._num_frames, frame.pts_seconds, frame.frame_id or ""))
        for found in self._numbering.objects_on(frame):
            self._lines.write(_line(self._num_frames, found))
        self._times = [*self._times[:1], frame.pts_seconds]
        self._size_wh = (frame.width, frame.height)
        return self._num_frames

    def add_picture(self, number: int, image: ReleaseImage) -> None:
        path = self._release / image.path_in_release
        target = _picture(self._folder, number, self._extension)
        if image.extension == self._extension:
            shutil.copyfile(path, target)
        else:
            picture = self._reader.see(PictureFile(path, has_foreign_pictures(image.video_key)))
            Image.fromarray(picture.rgb).save(target, "PNG")

    def close(self) -> None:
        with contextlib.closing(self._lines), contextlib.closing(self._frames):
            span = self._times[-1] - self._times[0] if self._times else 0.0
            rate = (self._num_frames - 1) / span if span > 0 else 0.0
            width, height = self._size_wh
            facts = {
                "name": self._folder.name,
                "imDir": _PICTURES,
                "frameRate": max(1, round(rate)),  # readers need an integer; times.csv has the times
                "seqLength": self._num_frames,
                "imWidth": width,
                "imHeight": height,
                "imExt": f".{self._extension}",
            }
            lines = ["[Sequence]", *(f"{name}={value}" for name, value in facts.items())]
            (self._folder / "seqinfo.ini").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _labels(header: ReleaseHeader) -> str:
    return "".join(f"{name}\n" for name in header.class_names)


def _extensions(release: Path) -> dict[tuple[str, str], str]:
    """Return the extension of each sequence's pictures, without the dot, by (split, video key)."""
    found: dict[tuple[str, str], str] = {}
    for split, video_key, file_name in read_columns(images_table(release), "split", "video_key", "file_name"):
        extension = PurePosixPath(file_name).suffix.removeprefix(".")
        if found.setdefault((split, video_key), extension) != extension:
            found[split, video_key] = _IN_SEVERAL_FORMATS
    return found


def _picture(folder: Path, number: int, extension: str) -> Path:
    return folder / _PICTURES / f"{number:06d}.{extension}"


def _line(frame_number: int, found: FollowedObject) -> str:
    left, top, right, bottom = found.box.box_xyxy
    size = (round(right - left, 3), round(bottom - top, 3))
    values = (frame_number, found.number, left, top, *size, int(found.is_certain), found.box.class_index + 1, 1)
    return ",".join(map(str, values)) + "\n"


def mot_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the sequences, their lists and their pictures."""
    names: dict[str, list[str]] = {split: [] for split in expected.header.splits}
    for sequence in expected_sequences(expected):
        names[sequence.split].append(sequence.video_key)
        place = folder / sequence.split / sequence.video_key
        if (place / "gt" / "labels.txt").read_text(encoding="utf-8") != _labels(expected.header):
            yield f"{sequence.video_key}: labels.txt does not list the classes"
        yield from (f"{sequence.split}/{sequence.video_key}: {line}" for line in _sequence_problems(place, sequence))
    for split, wanted in names.items():
        if (folder / split / SEQUENCES_FILE).read_text(encoding="utf-8").split() != ["name", *wanted]:
            yield f"{split}: {SEQUENCES_FILE} does not list its {counted(len(wanted), 'sequence')}"
        if {path.name for path in (folder / split).iterdir() if path.is_dir()} != set(wanted):
            yield f"{split}: the folders are not those of its {counted(len(wanted), 'sequence')}"


def _sequence_problems(place: Path, sequence: ExpectedSequence) -> Iterator[str]:
    facts = configparser.ConfigParser(interpolation=None)
    facts.read_string((place / "seqinfo.ini").read_text(encoding="utf-8"))
    if facts.getint("Sequence", "seqLength") != len(sequence.frames):
        yield f"seqinfo.ini has seqLength={facts.get('Sequence', 'seqLength')}, expected {len(sequence.frames)}"
    with (place / "times.csv").open(encoding="utf-8", newline="") as file:
        times = [(row["frame_id"] or None, float(row["pts_seconds"])) for row in csv.DictReader(file)]
    if times != [(frame.frame_id, frame.pts_seconds) for frame, _ in sequence.frames]:
        yield "times.csv does not list the ids and times of the frames"
    extension = facts.get("Sequence", "imExt").removeprefix(".")
    for number, image in sequence.images.items():
        if not _has_picture(_picture(place, number, extension), image):
            yield f"the picture of frame {number} is missing or differs from {image.file_name}"
    yield from file_number_problems(place / _PICTURES, len(sequence.images))
    lines = (place / "gt" / "gt.txt").read_text(encoding="utf-8").splitlines()
    wanted = [(number, found) for number, (_, objects) in enumerate(sequence.frames, 1) for found in objects]
    if len(lines) != len(wanted):
        yield f"gt.txt has {counted(len(lines), 'line')}, expected {len(wanted)}"
        return
    for line, (number, found) in zip(lines, wanted, strict=True):
        values = line.split(",")
        corners = corners_of(*map(float, values[2:6]))
        is_near = all(abs(a - b) <= PIXEL_TOLERANCE for a, b in zip(corners, found.box.box_xyxy, strict=True))
        told = (int(values[0]), int(values[1]), values[6], int(values[7]) - 1)
        if not is_near or told != (number, found.number, str(int(found.is_certain)), found.box.class_index):
            yield f"gt.txt has {line!r} instead of object {found.number} of frame {number}"


def _has_picture(path: Path, image: ReleaseImage) -> bool:
    """Return whether a file is a copy of an image, or, if it is in another format, a PNG of the same size."""
    if not path.is_file():
        return False
    if path.suffix == f".{image.extension}":
        return sha256_of_file(path) == image.sha256
    with path.open("rb") as file, PngImageFile(file) as opened:
        opened.load()
        return opened.size == (image.width, image.height)


CODEC: Final = Codec(MotWriter, (mot_problems,))
