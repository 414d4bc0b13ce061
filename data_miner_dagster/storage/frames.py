"""The one reader of `frames.parquet`, and the way from a frame to its image.

Extraction writes the table (operations/extraction/manifest.py). Everyone else comes here, so that what a missing or
damaged table means, which columns there are, and where a frame's image lies, is said once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.storage.damage import damaged
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import read_identity, read_table

_IMAGE_COLUMNS = ("frame_index", "file_name", "pts_seconds", "width", "height", "sha256")


@dataclass(frozen=True, slots=True)
class FramesIdentity:
    """What the footer of a video's table says. `fingerprint` covers the video file and the sampling settings."""

    fingerprint: str
    num_frames: int


@dataclass(frozen=True, slots=True)
class FrameImage:
    """The image of one frame: its file, the sha256 of its bytes, its size, and when it is shown."""

    frame_index: int
    file: PictureFile
    sha256: str
    resolution_wh: tuple[int, int]
    pts_seconds: float


def has_frames(layout: StorageLayout, video_key: str) -> bool:
    """Return whether a video's table is there, readable or not."""
    return layout.frames_table(video_key).is_file()


def frames_modified_ns(layout: StorageLayout, video_key: str) -> int:
    """Return when a video's table was written, as the file system says, in nanoseconds.

    Raises:
        FileNotFoundError: there is no table.
    """
    return layout.frames_table(video_key).stat().st_mtime_ns


def frames_identity(layout: StorageLayout, video_key: str) -> FramesIdentity | None:
    """Return the fingerprint and number of a video's frames; None where there is no readable table."""
    identity = read_identity(layout.frames_table(video_key))
    if identity is None or identity.fingerprint is None:
        return None
    return FramesIdentity(identity.fingerprint, identity.num_rows)


def sound_frames_identity(layout: StorageLayout, video_key: str) -> FramesIdentity | None:
    """Return the fingerprint and number of a video's frames; None where there is no table.

    For callers whose planner looks at files alone: to it, a table that is there and cannot be read would be done.

    Raises:
        DamagedFileError: there is a table, and it cannot be read.
    """
    identity = frames_identity(layout, video_key)
    if identity is None and has_frames(layout, video_key):
        raise damaged(layout.frames_table(video_key), "no table of frames")
    return identity


def read_frames(layout: StorageLayout, video_key: str, columns: Sequence[str]) -> pa.Table:
    """Return columns of a video's table, a row for each frame, by `frame_index`.

    Raises:
        FileNotFoundError: there is no table.
        DamagedFileError: it cannot be read, lacks a column, or has one of another type than `FRAMES_SCHEMA`.
        KeyError: no table of frames has such a column.
    """
    if unknown := set(columns) - set(FRAMES_SCHEMA.names):
        raise KeyError(f"frames have no column {', '.join(sorted(unknown))}")
    path = layout.frames_table(video_key)
    table = read_table(path, columns)
    check_frames_schema(path, table.schema)
    return table


def check_frames_schema(path: Path, schema: pa.Schema) -> None:
    """Do nothing if the columns that there are have the types of `FRAMES_SCHEMA`; earlier versions wrote fewer.

    Raises:
        DamagedFileError: one has another type.
    """
    for field in FRAMES_SCHEMA:
        position = schema.get_field_index(field.name)
        if position >= 0 and (found := schema.field(position).type) != field.type:
            raise damaged(path, f"its column {field.name} is {found}, not {field.type}")


def read_frame_images(layout: StorageLayout, video_key: str) -> dict[int, FrameImage]:
    """Return the image of each frame of a video by its frame index, in order. No image is opened.

    Raises:
        FileNotFoundError: there is no table.
        DamagedFileError: it cannot be read.
    """
    table = read_frames(layout, video_key, _IMAGE_COLUMNS)
    rows = zip(*(table[name].to_pylist() for name in _IMAGE_COLUMNS), strict=True)
    return {
        frame_index: FrameImage(
            frame_index, layout.frame_picture(video_key, file_name), sha256, (width, height), pts_seconds
        )
        for frame_index, file_name, pts_seconds, width, height, sha256 in rows
    }


def images_of_frames(layout: StorageLayout, frame_ids: Iterable[str]) -> dict[str, FrameImage]:
    """Return the image of each frame by its id; ids that a video's table does not name are left out.

    Each video's table is read once, whatever the order of the ids.

    Raises:
        FileNotFoundError: a video has no table.
        DamagedFileError: one cannot be read.
    """
    by_video: dict[str, dict[int, FrameImage]] = {}
    images: dict[str, FrameImage] = {}
    for frame_id in frame_ids:
        video_key, frame_index = split_frame_id(frame_id)
        if video_key not in by_video:
            by_video[video_key] = read_frame_images(layout, video_key)
        if (image := by_video[video_key].get(frame_index)) is not None:
            images[frame_id] = image
    return images
