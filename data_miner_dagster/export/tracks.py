"""Write and read a release's whole-clip tracks: the frames in which objects were followed, with their objects.

`data/tracked_frames.parquet` has one row per frame, and `data/tracks.parquet` one per object in a frame. Only releases
of projects that follow objects along whole clips have these tables. Most of the frames are not images of the release.
Frames that are stored, such as released images, have a `frame_id`. Belongs here: both tables. Does not belong here: the
formats written from them.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.tables import (
    MASK_TYPE,
    RECOVERED_COLUMN,
    RECOVERED_FROM_COLUMN,
    SIGHTINGS_TYPE,
    TRACK_ID_COLUMN,
    not_null,
)
from data_miner_dagster.domain.tracks import sightings_as_rows, sightings_from
from data_miner_dagster.export.codec import Destination, Expected
from data_miner_dagster.export.records import MASK_COLUMN, ReleaseBox, ReleaseTally
from data_miner_dagster.export.rows import RowWriter, read_rows

_OF_FRAMES: Final = (
    not_null("video_key", pa.string()),
    not_null("split", pa.string()),
    not_null("tracked_frame", pa.int32()),  # position among its video's tracked frames by time, counting from 0
    not_null("pts_seconds", pa.float64()),
    pa.field("frame_id", pa.string()),  # null if the frame is not stored
)
RELEASED_FRAMES_SCHEMA: Final = pa.schema(
    [
        *_OF_FRAMES,
        # number of the continuous stretch that contains the frame; no track is in two stretches
        not_null("stretch", pa.int32()),
        not_null("width", pa.int32()),
        not_null("height", pa.int32()),
        not_null("num_boxes", pa.int32()),
    ]
)
RELEASED_TRACKS_SCHEMA: Final = pa.schema(
    [
        *_OF_FRAMES,
        not_null(TRACK_ID_COLUMN, pa.int64()),  # unique within a video, counting from 1
        not_null("class_index", pa.int32()),
        not_null("class_name", pa.string()),
        not_null("confidence", pa.float64()),
        not_null("x_min", pa.float64()),  # absolute pixels
        not_null("y_min", pa.float64()),
        not_null("x_max", pa.float64()),
        not_null("y_max", pa.float64()),
        not_null("prompt", pa.string()),
        not_null("detector", pa.string()),
        not_null("num_agreeing_detectors", pa.int32()),
        pa.field(MASK_COLUMN, MASK_TYPE),
        not_null(RECOVERED_COLUMN, pa.bool_()),
        pa.field(RECOVERED_FROM_COLUMN, SIGHTINGS_TYPE),
    ]
)
_PLAIN: Final = (
    TRACK_ID_COLUMN,
    "class_index",
    "class_name",
    "confidence",
    "prompt",
    "detector",
    "num_agreeing_detectors",
    RECOVERED_COLUMN,
)
"""Columns of tracks that are fields of `ReleaseBox`."""
_CORNERS: Final = ("x_min", "y_min", "x_max", "y_max")


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """A frame in which objects were followed. In whole-clip tracks, each of its boxes has a different `track_id`."""

    video_key: str
    split: str
    tracked_frame: int  # position among the video's tracked frames by time, counting from 0
    pts_seconds: float
    frame_id: str | None  # None if the frame is not stored
    stretch: int  # number of the continuous stretch that contains the frame
    width: int
    height: int
    boxes: tuple[ReleaseBox, ...] = ()


def tracked_frames_table(folder: Path) -> Path:
    """Return the path of the table of tracked frames inside a release."""
    return folder / "data" / "tracked_frames.parquet"


def tracks_table(folder: Path) -> Path:
    """Return the path of the table of tracks inside a release."""
    return folder / "data" / "tracks.parquet"


def has_tracks(folder: Path) -> bool:
    """Return whether a release has whole-clip tracks."""
    return tracks_table(folder).is_file()


def write_tracks(folder: Path, frames: Iterator[TrackedFrame]) -> None:
    """Write both tables of tracks in bounded memory. `frames` must be in order of video and time."""
    with ExitStack() as stack:
        frame_rows = stack.enter_context(closing(RowWriter(tracked_frames_table(folder), RELEASED_FRAMES_SCHEMA)))
        box_rows = stack.enter_context(closing(RowWriter(tracks_table(folder), RELEASED_TRACKS_SCHEMA)))
        for frame in frames:
            of_frame = {field.name: getattr(frame, field.name) for field in _OF_FRAMES}
            size = {"stretch": frame.stretch, "width": frame.width, "height": frame.height}
            frame_rows.add(of_frame | size | {"num_boxes": len(frame.boxes)})
            for box in frame.boxes:
                box_rows.add(of_frame | _box_row(box))


def read_tracked_frames(folder: Path) -> Iterator[TrackedFrame]:
    """Yield a release's tracked frames with their objects, by video and then by time, in bounded memory.

    Raises:
        DataMinerError: a table is damaged.
    """
    groups = groupby(read_rows(tracks_table(folder)), key=lambda row: (row["video_key"], row["tracked_frame"]))
    place, boxes = next(groups, (None, iter(())))
    for row in read_rows(tracked_frames_table(folder)):
        own: tuple[ReleaseBox, ...] = ()
        if place == (row["video_key"], row["tracked_frame"]):
            own = tuple(map(_box, boxes))
            place, boxes = next(groups, (None, iter(())))
        yield TrackedFrame(**{name: row[name] for name in row if name != "num_boxes"}, boxes=own)


def add_tracks(to: Destination, tally: ReleaseTally) -> None:
    """Add a release's tracks, if it has any, to an export. Only videos with an exported image are included.

    Raises:
        DataMinerError: a table of the release is damaged.
    """
    if has_tracks(to.release):
        frames = read_tracked_frames(to.release)
        write_tracks(to.folder, (frame for frame in frames if frame.video_key in tally.images_by_video))


def tracks_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the tables of tracks, if the folder has them."""
    if not has_tracks(folder):
        return
    of_frames, before = read_rows(tracked_frames_table(folder)), ("", -1)
    num_boxes = 0
    for frame, row in zip(read_tracked_frames(folder), of_frames, strict=True):
        num_boxes += len(frame.boxes)
        what = f"data: frame {frame.tracked_frame} of {frame.video_key}"
        if (frame.video_key, frame.tracked_frame) <= before:
            yield f"{what} is out of order in tracked_frames.parquet"
        before = (frame.video_key, frame.tracked_frame)
        if len(frame.boxes) != row["num_boxes"] or len({box.track_id for box in frame.boxes}) != len(frame.boxes):
            yield f"{what} does not have as many tracks as tracked_frames.parquet states, or has a track twice"
        for box in frame.boxes:
            left, top, right, bottom = box.box_xyxy
            if not (0 <= left < right <= frame.width and 0 <= top < bottom <= frame.height):
                yield f"{what} has a box that is empty or lies outside the frame"
            if expected.header.class_names[box.class_index] != box.class_name:
                yield f"{what} has a track whose class {box.class_index} is not {box.class_name!r}"
    if num_boxes != (found := sum(1 for _ in read_rows(tracks_table(folder)))):
        yield f"data: tracks.parquet has {counted(found, 'row')}, but only {num_boxes:,} belong to tracked frames"


def _box_row(box: ReleaseBox) -> dict[str, Any]:
    return {
        **{name: getattr(box, name) for name in _PLAIN},
        **dict(zip(_CORNERS, box.box_xyxy, strict=True)),
        MASK_COLUMN: box.mask.as_coco() if box.mask is not None else None,
        RECOVERED_FROM_COLUMN: sightings_as_rows(box.recovered_from),
    }


def _box(row: dict[str, Any]) -> ReleaseBox:
    return ReleaseBox(
        box_xyxy=(row["x_min"], row["y_min"], row["x_max"], row["y_max"]),
        mask=Mask.from_coco(row[MASK_COLUMN]) if row[MASK_COLUMN] else None,
        recovered_from=sightings_from(row[RECOVERED_FROM_COLUMN]),
        **{name: row[name] for name in _PLAIN},
    )
