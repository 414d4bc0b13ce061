"""Read `frames.parquet`, and look up the image files of frames.

Extraction writes the table (operations/extraction/manifest.py). All other code reads it through this module. The
columns, the location of the image files and the handling of a missing or damaged table are therefore defined only once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_miner_dagster.domain.errors import OutOfDateError
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.storage.damage import damaged, reading
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import open_table, read_columns, read_identity

_IMAGE_COLUMNS = ("frame_index", "file_name", "pts_seconds", "width", "height", "sha256")


@dataclass(frozen=True, slots=True)
class FramesIdentity:
    """The identity of a video's frames. `fingerprint` covers the video file and the sampling settings."""

    fingerprint: str
    num_frames: int


@dataclass(frozen=True, slots=True)
class FrameImage:
    """The image file of one frame, with its sha256, its size in pixels, and the frame's time in the video."""

    frame_index: int
    file: PictureFile
    sha256: str
    resolution_wh: tuple[int, int]
    pts_seconds: float


def has_frames(layout: StorageLayout, video_key: str) -> bool:
    """Return whether a video's table of frames exists, even if it is unreadable."""
    return layout.frames_table(video_key).is_file()


def frames_table_of(layout: StorageLayout, video_key: str) -> Path:
    """Return the path of a video's table of frames, for code that measures or removes the table, but never reads it."""
    return layout.frames_table(video_key)


def frames_identity(layout: StorageLayout, video_key: str) -> FramesIdentity | None:
    """Return the identity of a video's frames, or None if there is no readable table with a fingerprint."""
    identity = read_identity(layout.frames_table(video_key))
    if identity is None or identity.fingerprint is None:
        return None
    return FramesIdentity(identity.fingerprint, identity.num_rows)


def sound_frames_identity(layout: StorageLayout, video_key: str) -> FramesIdentity | None:
    """Return the identity of a video's frames, or None if there is no table.

    This is for callers whose planner only checks whether files exist. The planner would mistake an unreadable table for
    finished work.

    Raises:
        DamagedFileError: the table exists but cannot be read or has no fingerprint.
    """
    identity = frames_identity(layout, video_key)
    if identity is None and has_frames(layout, video_key):
        raise damaged(layout.frames_table(video_key), "the table is unreadable or has no fingerprint")
    return identity


def read_frames(layout: StorageLayout, video_key: str, columns: Sequence[str]) -> pa.Table:
    """Return columns of a video's table of frames in the requested order, with the rows ordered by `frame_index`.

    A nullable column that an earlier version did not write is filled with nulls.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the table cannot be read, or a column's type differs from `FRAMES_SCHEMA`.
        OutOfDateError: the table lacks a column that is not nullable, so extraction has to run again.
        KeyError: `FRAMES_SCHEMA` lacks one of `columns`.
    """
    if unknown := set(columns) - set(FRAMES_SCHEMA.names):
        raise KeyError(f"tables of frames have no column {', '.join(sorted(unknown))}; use names from `FRAMES_SCHEMA`")
    path = layout.frames_table(video_key)
    with open_table(path) as file, reading(path):
        stored = set(file.schema_arrow.names)
        table = read_columns(file, [name for name in columns if name in stored])
        num_rows = file.metadata.num_rows
    check_frames_schema(path, table.schema)
    for field in (FRAMES_SCHEMA.field(name) for name in columns if name not in stored):
        if not field.nullable:
            raise OutOfDateError(
                f"the frames of video {video_key} were extracted before the column {field.name} was introduced; run "
                "`data-miner backfill --asset frames --project PROJECT --force --keys-file FILE` with the video's key "
                "in FILE"
            )
        table = table.append_column(field, pa.nulls(num_rows, field.type))
    return table.select(list(columns))


def check_frames_schema(path: Path, schema: pa.Schema) -> None:
    """Check that the columns in `schema` have the types of `FRAMES_SCHEMA`. Some columns may be missing.

    Raises:
        DamagedFileError: a column has a different type.
    """
    for field in FRAMES_SCHEMA:
        position = schema.get_field_index(field.name)
        if position >= 0 and (found := schema.field(position).type) != field.type:
            raise damaged(path, f"the column {field.name} has type {found}, not {field.type}")


def read_frame_images(layout: StorageLayout, video_key: str) -> dict[int, FrameImage]:
    """Return the image file of each frame of a video, by frame index, in order. No file is opened except the table.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the table cannot be read.
        OutOfDateError: the table lacks a required column, so extraction has to run again.
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
    """Return the image file of each frame, by frame id. Ids that are not in their video's table are omitted.

    Each video's table is read once, whatever the order of the ids. A missing table counts as empty.

    Raises:
        DamagedFileError: a table cannot be read.
        OutOfDateError: a table lacks a required column, so extraction has to run again.
    """
    by_video: dict[str, dict[int, FrameImage]] = {}
    images: dict[str, FrameImage] = {}
    for frame_id in frame_ids:
        video_key, frame_index = split_frame_id(frame_id)
        if video_key not in by_video:
            try:
                by_video[video_key] = read_frame_images(layout, video_key)
            except FileNotFoundError:
                by_video[video_key] = {}
        if (image := by_video[video_key].get(frame_index)) is not None:
            images[frame_id] = image
    return images
