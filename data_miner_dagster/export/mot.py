"""Write the layout of the MOT Challenge for TrackEval and CVAT, with one sequence per video and split.

Source: https://motchallenge.net/instructions, and for `labels.txt`
https://docs.cvat.ai/docs/dataset_management/formats/format-mot. Corners are in pixels counted from 0. The identity of
a box that a person drew is unknown, and a box that the detector is unsure of may show no object. Both kinds of boxes
have confidence 0 in the files, so evaluation ignores them.
"""

import configparser
import contextlib
import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.export.codec import Codec, Destination, Expected
from data_miner_dagster.export.comparing import PIXEL_TOLERANCE, corners_of, file_number_problems
from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage
from data_miner_dagster.export.round_trips import check_labels
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
_FRAME_COLUMNS: Final = ("frame", "pts_seconds", "frame_id")


class MotWriter(SequencesWriter):
    """Writes `gt/`, `img1/`, `seqinfo.ini` and `times.csv` in `<split>/<video>/`, and the list `<split>/sequences.txt`.

    Raises:
        ConfigError: the release has no tracks, or a class name has control characters.
    """

    def __init__(self, to: Destination) -> None:
        check_tracks(to)
        check_labels(to.header, "MOT", lambda _name: None)
        for split in to.header.splits:
            (to.folder / split).mkdir()
            (to.folder / split / SEQUENCES_FILE).write_text("name\n", encoding="utf-8")

        def open_sequence(split: str, video_key: str) -> _MotSequence:
            with (to.folder / split / SEQUENCES_FILE).open("a", encoding="utf-8") as names:
                names.write(f"{video_key}\n")
            return _MotSequence(to.folder / split / video_key, to)

        super().__init__(to.release, open_sequence)


class _MotSequence:
    def __init__(self, folder: Path, to: Destination) -> None:
        self._folder = folder
        self._release = to.release
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
        shutil.copyfile(self._release / image.path_in_release, _picture(self._folder, number))

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
                "imExt": ".jpg",
            }
            lines = ["[Sequence]", *(f"{name}={value}" for name, value in facts.items())]
            (self._folder / "seqinfo.ini").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _labels(header: ReleaseHeader) -> str:
    return "".join(f"{name}\n" for name in header.class_names)


def _picture(folder: Path, number: int) -> Path:
    return folder / _PICTURES / f"{number:06d}.jpg"


def _line(frame_number: int, found: FollowedObject) -> str:
    left, top, right, bottom = found.box.box_xyxy
    size = (round(right - left, 3), round(bottom - top, 3))
    values = (frame_number, found.number, left, top, *size, int(found.is_certain), found.box.class_index + 1, 1)
    return ",".join(map(str, values)) + "\n"


def mot_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the sequences, their lists and their pictures."""
    names: dict[str, list[str]] = {split: [] for split in expected.header.splits}
    num_pictures = 0
    for sequence in expected_sequences(expected):
        names[sequence.split].append(sequence.video_key)
        num_pictures += len(sequence.images)
        place = folder / sequence.split / sequence.video_key
        if (place / "gt" / "labels.txt").read_text(encoding="utf-8") != _labels(expected.header):
            yield f"{sequence.video_key}: labels.txt does not list the classes"
        yield from (f"{sequence.split}/{sequence.video_key}: {line}" for line in _sequence_problems(place, sequence))
    for split, wanted in names.items():
        if (folder / split / SEQUENCES_FILE).read_text(encoding="utf-8").split() != ["name", *wanted]:
            yield f"{split}: {SEQUENCES_FILE} does not list its {counted(len(wanted), 'sequence')}"
    yield from file_number_problems(folder, num_pictures, suffix=".jpg")


def _sequence_problems(place: Path, sequence: ExpectedSequence) -> Iterator[str]:
    facts = configparser.ConfigParser(interpolation=None)
    facts.read_string((place / "seqinfo.ini").read_text(encoding="utf-8"))
    if facts.getint("Sequence", "seqLength") != len(sequence.frames):
        yield f"seqinfo.ini has seqLength={facts.get('Sequence', 'seqLength')}, expected {len(sequence.frames)}"
    with (place / "times.csv").open(encoding="utf-8", newline="") as file:
        times = [(row["frame_id"] or None, float(row["pts_seconds"])) for row in csv.DictReader(file)]
    if times != [(frame.frame_id, frame.pts_seconds) for frame, _ in sequence.frames]:
        yield "times.csv does not list the ids and times of the frames"
    for number, image in sequence.images.items():
        if not _picture(place, number).is_file() or sha256_of_file(_picture(place, number)) != image.sha256:
            yield f"the picture of frame {number} is missing or differs from {image.file_name}"
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


CODEC: Final = Codec(MotWriter, (mot_problems,))
