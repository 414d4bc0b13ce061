"""Build sequences of frames with persistently numbered objects, from which the tracking formats are written.

A video with whole-clip tracks provides every frame in which objects were followed, although few of these frames are
released as images. Other videos provide their images. Belongs here: the frames, and the numbers of their objects.
Does not belong here: files (mot.py, youtube_vis.py).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final, Protocol

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.tables import TRACK_ID_COLUMN
from data_miner_dagster.export.codec import Destination, Expected
from data_miner_dagster.export.records import ReleaseBox, ReleaseImage
from data_miner_dagster.export.tracks import TrackedFrame, has_tracks, read_tracked_frames

FIRST_LONE_ID: Final = 1_000_000_001
"""The first number for boxes without a track. Tracks are numbered from 1."""


@dataclass(frozen=True, slots=True)
class FollowedObject:
    """A box and its object's number in the sequence. Unless `is_certain`, the object is unknown or may not exist."""

    number: int
    box: ReleaseBox
    is_certain: bool


@dataclass(slots=True)
class Numbering:
    """Numbers the objects of one sequence, frame by frame."""

    _num_lone: int = 0

    def objects_on(self, frame: TrackedFrame) -> list[FollowedObject]:
        """Return the objects in the next frame. No two of them have the same number.

        A box without a track, or with the track of an earlier box in the frame, gets a number of its own. A repeated
        track makes the later box uncertain. Unsure boxes are not certain, nor are boxes that a person drew, since these
        may show any object.
        """
        objects: list[FollowedObject] = []
        seen: set[int] = set()
        for box in frame.boxes:
            has_track = box.track_id is not None and box.track_id not in seen
            if has_track and box.track_id is not None:
                number = box.track_id
                seen.add(number)
            else:
                number = FIRST_LONE_ID + self._num_lone
                self._num_lone += 1
            was_looked_for = has_track or (box.track_id is None and box.recovered is not None)
            objects.append(FollowedObject(number, box, was_looked_for and not box.is_unsure))
        return objects


class OpenSequence(Protocol):
    """A sequence that is being written."""

    def add_frame(self, frame: TrackedFrame) -> int:
        """Write the objects in the next frame, and return the frame's number, counting from 1."""
        ...

    def add_picture(self, number: int, image: ReleaseImage) -> None:
        """Write `image` as the picture of frame `number`."""
        ...

    def close(self) -> None:
        """Finish the sequence."""
        ...


def check_tracks(to: Destination) -> None:
    """Check that a release has tracks.

    Raises:
        ConfigError: the release has no tracks.
    """
    if TRACK_ID_COLUMN not in to.header.extra_columns and not has_tracks(to.release):
        raise ConfigError(
            f"{to.header.title} has no tracks; set detection.tracking in the project file and build the project again"
        )


class SequencesWriter:
    """Writes the sequences of a release. Each video has one sequence for every split that contains its frames.

    Args:
        release: the folder of the release.
        open_sequence: called with (split, video key) to open a sequence.

    Raises:
        DataMinerError: a table of tracks is damaged. `add` may also raise this, since it reads the tables.
    """

    def __init__(self, release: Path, open_sequence: Callable[[str, str], OpenSequence]) -> None:
        self._open_sequence = open_sequence
        self._tracked = _TrackedVideos(read_tracked_frames(release)) if has_tracks(release) else None
        self._video_key: str | None = None
        self._is_tracked = False  # whether there are whole-clip tracks of the video
        self._sequences: dict[str, OpenSequence] = {}
        self._numbers: dict[str, int] = {}  # frame numbers in whole-clip tracks, by frame id

    def add(self, image: ReleaseImage) -> None:
        """Write one image.

        If the release has whole-clip tracks of the image's video, the tracks are written before the video's first
        image, and an image is written only if its frame is in the tracks. Otherwise, each image becomes a frame. This
        applies to folders of pictures, and to videos in which objects could not be followed.
        """
        if image.video_key != self._video_key:
            self._finish_video()
            self._video_key = image.video_key
            self._is_tracked = False
            for frame in self._tracked.frames_of(image.video_key) if self._tracked is not None else ():
                self._is_tracked = True
                number = self._sequence_of(frame.split).add_frame(frame)
                if frame.frame_id is not None:
                    self._numbers[frame.frame_id] = number
        sequence = self._sequence_of(image.split)
        if not self._is_tracked:
            sequence.add_picture(sequence.add_frame(frame_of(image)), image)
        elif (known := self._numbers.get(image.frame_id)) is not None:
            sequence.add_picture(known, image)

    def close(self) -> None:
        """Finish the last sequences."""
        self._finish_video()

    def _sequence_of(self, split: str) -> OpenSequence:
        if split not in self._sequences:
            self._sequences[split] = self._open_sequence(split, self._video_key or "")
        return self._sequences[split]

    def _finish_video(self) -> None:
        sequences, self._sequences, self._numbers = list(self._sequences.values()), {}, {}
        for sequence in sequences:
            sequence.close()


class _TrackedVideos:
    """Reads tracked frames video by video, in order of video keys."""

    def __init__(self, frames: Iterable[TrackedFrame]) -> None:
        self._groups = groupby(frames, key=lambda frame: frame.video_key)
        self._next = next(self._groups, None)

    def frames_of(self, video_key: str) -> Iterator[TrackedFrame]:
        while self._next is not None and self._next[0] < video_key:
            self._next = next(self._groups, None)
        if self._next is not None and self._next[0] == video_key:
            yield from self._next[1]
            self._next = next(self._groups, None)


def frame_of(image: ReleaseImage) -> TrackedFrame:
    """Convert an image to a frame of its sequence."""
    return TrackedFrame(
        video_key=image.video_key,
        split=image.split,
        tracked_frame=image.frame_index,
        pts_seconds=image.pts_seconds,
        frame_id=image.frame_id,
        stretch=0,
        width=image.width,
        height=image.height,
        boxes=image.boxes,
    )


@dataclass(slots=True)
class ExpectedSequence:
    """The expected contents of a sequence: frames with their objects, and images by frame number."""

    split: str
    video_key: str
    frames: list[tuple[TrackedFrame, list[FollowedObject]]] = field(default_factory=list)
    images: dict[int, ReleaseImage] = field(default_factory=dict)
    _numbering: Numbering = field(default_factory=Numbering)
    is_closed: bool = False

    def add_frame(self, frame: TrackedFrame) -> int:
        """Add the next frame, and return its number, counting from 1."""
        self.frames.append((frame, self._numbering.objects_on(frame)))
        return len(self.frames)

    def add_picture(self, number: int, image: ReleaseImage) -> None:
        """Add `image` as the picture of frame `number`."""
        self.images[number] = image

    def close(self) -> None:
        """Mark the sequence as complete."""
        self.is_closed = True


def expected_sequences(expected: Expected) -> Iterator[ExpectedSequence]:
    """Yield the expected contents of an export's sequences, one video at a time."""
    opened: list[ExpectedSequence] = []

    def open_sequence(split: str, video_key: str) -> ExpectedSequence:
        opened.append(ExpectedSequence(split, video_key))
        return opened[-1]

    writer = SequencesWriter(expected.release, open_sequence)
    for image in expected.read_images():
        writer.add(image)
        yield from _taken(opened)
    writer.close()
    yield from _taken(opened)


def _taken(sequences: list[ExpectedSequence]) -> list[ExpectedSequence]:
    closed = [sequence for sequence in sequences if sequence.is_closed]
    sequences[:] = [sequence for sequence in sequences if not sequence.is_closed]
    return closed
