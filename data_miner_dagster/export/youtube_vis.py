"""Write YouTube-VIS, with one JSON file per split, in the folder layout that TrackEval expects.

Each object in a video has an entry with its outlines over time. Outlines are uncompressed run lengths, which TrackEval
reads. The outline of an object without a mask is its box. A box that the detector is unsure of is omitted. A box that a
person drew is a separate object that evaluation ignores (`iscrowd`).

Source: https://youtube-vos.org/dataset/vis.
"""

import shutil
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.export.coco import coco_facts
from data_miner_dagster.export.codec import Codec, Destination, Expected
from data_miner_dagster.export.comparing import file_number_problems
from data_miner_dagster.export.crops import crop_corners
from data_miner_dagster.export.records import ReleaseBox, ReleaseHeader, ReleaseImage
from data_miner_dagster.export.sequences import (
    ExpectedSequence,
    FollowedObject,
    Numbering,
    SequencesWriter,
    check_tracks,
    expected_sequences,
)
from data_miner_dagster.export.spooled_json import SpooledJson, read_entries, read_facts
from data_miner_dagster.export.tracks import TrackedFrame

INSTANCES_FILE: Final = "instances.json"
_PICTURES: Final = "JPEGImages"


def split_folder(folder: Path, split: str) -> Path:
    """Return the folder of a split, under the name that TrackEval expects."""
    return folder / f"youtube_vis_{split}"


class YouTubeVisWriter(SequencesWriter):
    """Writes `youtube_vis_<split>/instances.json` with the pictures beside it.

    Only one video's boxes are held in memory.

    Raises:
        ConfigError: the release has no tracks.
    """

    def __init__(self, to: Destination) -> None:
        check_tracks(to)
        self._files = {}
        for split in to.header.splits:
            split_folder(to.folder, split).mkdir()
            self._files[split] = _InstancesFile(split_folder(to.folder, split), to.header)

        def open_sequence(split: str, video_key: str) -> "_VisSequence":
            return _VisSequence(self._files[split], video_key, to.release)

        super().__init__(to.release, open_sequence)

    def close(self) -> None:
        """Finish the last video and every file."""
        try:
            super().close()
        finally:
            for file in self._files.values():
                file.json.close()


class _InstancesFile:
    """Writes one split's file, and counts its videos and annotations in order to number them."""

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        self.folder = folder
        self.json = SpooledJson(folder / INSTANCES_FILE, coco_facts(header), ("videos", "annotations"))
        self.num_videos = 0
        self.num_annotations = 0


class _VisSequence:
    def __init__(self, file: _InstancesFile, video_key: str, release: Path) -> None:
        self._file = file
        self._video_key = video_key
        self._release = release
        self._numbering = Numbering()
        self._frames: list[tuple[float, str | None]] = []
        self._size_wh = (0, 0)
        self._tracks: dict[tuple[int, int], dict[int, FollowedObject]] = {}
        self._extensions: dict[int, str] = {}

    def add_frame(self, frame: TrackedFrame) -> int:
        self._frames.append((frame.pts_seconds, frame.frame_id))
        self._size_wh = (frame.width, frame.height)
        gather_tracks(self._tracks, len(self._frames), self._numbering.objects_on(frame))
        return len(self._frames)

    def add_picture(self, number: int, image: ReleaseImage) -> None:
        self._extensions[number] = image.extension
        target = self._file.folder / _PICTURES / _name(self._video_key, number, image.extension)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._release / image.path_in_release, target)

    def close(self) -> None:
        file = self._file
        file.num_videos += 1
        width, height = self._size_wh
        size = {"width": width, "height": height, "length": len(self._frames)}
        file.json.add_first(
            {
                "id": file.num_videos,
                **size,
                "file_names": _names(self._video_key, len(self._frames), self._extensions),
                "video_key": self._video_key,
                "pts_seconds": [pts_seconds for pts_seconds, _ in self._frames],
                "frame_ids": [frame_id for _, frame_id in self._frames],
            }
        )
        for (number, class_index), objects in self._tracks.items():
            file.num_annotations += 1
            of_track = {
                "id": file.num_annotations,
                "video_id": file.num_videos,
                "category_id": class_index + 1,
                "iscrowd": int(not all(found.is_certain for found in objects.values())),
                "track_id": number,
                **size,
            }
            file.json.add_second(of_track | _over_time(objects, len(self._frames), self._size_wh))


def gather_tracks(
    tracks: dict[tuple[int, int], dict[int, FollowedObject]], frame_number: int, objects: list[FollowedObject]
) -> None:
    """Add the objects in a frame, except unsure ones, to `tracks`.

    `tracks` maps (number of the object, class index) to {`frame_number`: the object in that frame}.
    """
    for found in objects:
        if not found.box.is_unsure:
            tracks.setdefault((found.number, found.box.class_index), {})[frame_number] = found


def _over_time(objects: dict[int, FollowedObject], num_frames: int, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return an object's outlines, boxes and areas as lists with one entry per frame: None if the object is absent."""
    entries: dict[str, list[Any]] = {name: [None] * num_frames for name in ("segmentations", "bboxes", "areas")}
    for number, found in objects.items():
        left, top, right, bottom = found.box.box_xyxy
        mask = outline_of(found.box, size_wh)
        width, height = mask.resolution_wh
        entries["segmentations"][number - 1] = {"size": [height, width], "counts": mask.run_lengths()}
        entries["bboxes"][number - 1] = [left, top, round(right - left, 3), round(bottom - top, 3)]
        entries["areas"][number - 1] = mask.area
    return entries


def outline_of(box: ReleaseBox, size_wh: tuple[int, int]) -> Mask:
    """Return a box's mask, or else a mask of the whole box, rounded outwards to whole pixels."""
    if box.mask is not None:
        return box.mask
    left, top, right, bottom = crop_corners(box)
    return Mask.of_region(np.ones((bottom - top, right - left), np.bool_), left_top=(left, top), resolution_wh=size_wh)


def _name(video_key: str, number: int, extension: str) -> str:
    return f"{video_key}/{number:06d}.{extension}"


def _names(video_key: str, num_frames: int, extensions: Mapping[int, str]) -> list[str]:
    """Return the names of a sequence's frames. A frame without a picture gets the first picture's extension.

    `extensions` are those of the pictures, by frame number. Without any, the names end in `.jpg`.
    """
    other = extensions[min(extensions)] if extensions else "jpg"
    return [_name(video_key, number, extensions.get(number, other)) for number in range(1, num_frames + 1)]


def youtube_vis_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with every split's file and pictures. Only one video is held in memory."""
    splits = {split: _WrittenSplit(split_folder(folder, split), expected.header) for split in expected.header.splits}
    for sequence in expected_sequences(expected):
        yield from (
            f"{sequence.split}/{sequence.video_key}: {line}" for line in splits[sequence.split].problems_of(sequence)
        )
    for name, split in splits.items():
        yield from (f"{name}: {line}" for line in split.problems_at_end())


class _WrittenSplit:
    """One split of an export, read as a stream."""

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        self._folder = folder
        self._header = header
        path = folder / INSTANCES_FILE
        self._videos = read_entries(path, "videos")
        self._tracks = groupby(read_entries(path, "annotations"), key=lambda track: track["video_id"])
        self._next_tracks = next(self._tracks, None)
        self._num_pictures = 0

    def problems_of(self, sequence: ExpectedSequence) -> Iterator[str]:
        video = next(self._videos, None)
        if video is None or video["video_key"] != sequence.video_key:
            yield "the video is missing or out of order"
            return
        self._num_pictures += len(sequence.images)
        extensions = {number: image.extension for number, image in sequence.images.items()}
        if video["file_names"] != _names(sequence.video_key, len(sequence.frames), extensions):
            yield "the names of its frames differ from the release"
            return
        for number, image in sequence.images.items():
            path = self._folder / _PICTURES / video["file_names"][number - 1]
            if not path.is_file() or sha256_of_file(path) != image.sha256:
                yield f"{path.name} is missing or differs from {image.file_name}"
        tracks: list[dict[str, Any]] = []
        if self._next_tracks is not None and self._next_tracks[0] == video["id"]:
            tracks = list(self._next_tracks[1])
            self._next_tracks = next(self._tracks, None)
        yield from _track_problems(video, tracks, sequence)

    def problems_at_end(self) -> Iterator[str]:
        if next(self._videos, None) is not None or self._next_tracks is not None:
            yield "there are more videos or objects than in the release"
        if read_facts(self._folder / INSTANCES_FILE) != coco_facts(self._header):
            yield f"the content does not match {self._header.title} and its classes"
        yield from file_number_problems(self._folder, self._num_pictures, without=".json")


def _track_problems(video: dict[str, Any], tracks: list[dict[str, Any]], sequence: ExpectedSequence) -> Iterator[str]:
    if video["pts_seconds"] != [frame.pts_seconds for frame, _ in sequence.frames]:
        yield "the times of its frames differ from the release"
        return
    wanted: dict[tuple[int, int], dict[int, FollowedObject]] = {}
    for number, (_, on_frame) in enumerate(sequence.frames, 1):
        gather_tracks(wanted, number, on_frame)
    if [(track["track_id"], track["category_id"] - 1) for track in tracks] != list(wanted):
        yield f"its objects differ from the release ({counted(len(tracks), 'object')}, expected {len(wanted)})"
        return
    for track, objects in zip(tracks, wanted.values(), strict=True):
        size_wh = (video["width"], video["height"])
        if {name: track[name] for name in ("segmentations", "bboxes", "areas")} != _over_time(
            objects, len(sequence.frames), size_wh
        ):
            yield f"the outlines of object {track['track_id']} differ from the release"
        if track["iscrowd"] != (crowd := int(not all(found.is_certain for found in objects.values()))):
            yield f"object {track['track_id']} has iscrowd {track['iscrowd']}, expected {crowd}"


CODEC: Final = Codec(YouTubeVisWriter, (youtube_vis_problems,))
