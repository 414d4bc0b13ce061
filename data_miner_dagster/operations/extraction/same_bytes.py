"""Share frames between videos whose files have the same bytes: one video is decoded, and the others get hard links.

If the file system does not support links, pictures are copied. The pictures and rows equal those that would be
extracted from the video's own file. Later stages treat such videos like any others: their equal frames become
duplicates and stay in one split.
"""

import logging
import os
import shutil
from pathlib import Path

from data_miner_dagster.catalog.content import of_same_bytes
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.tables import FRAMES_ROWS_PER_GROUP, FRAMES_SCHEMA
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.atomic import atomic_folder
from data_miner_dagster.storage.frames import frames_identity, read_frame_images, read_frames
from data_miner_dagster.storage.layout import FRAMES_TABLE_NAME, StorageLayout
from data_miner_dagster.storage.tables import table_from_rows, table_writer

logger = logging.getLogger(__name__)


class _NotTheSameError(DataMinerError):
    """Raised if a frame file of the other video does not have the sha256 in that video's table."""


def same_video_with_frames(platform: Platform, row: VideoRow, fingerprint: str) -> str | None:
    """Return the key of the first other video whose file has the same bytes and whose frames have `fingerprint`.

    Return None if there is no such video.
    """
    if row.sha256 is None or not row.file_name:
        return None
    with platform.database.reading() as session:
        others = of_same_bytes(session, row.key, row.sha256)
    return next((key for key in others if _has_frames(platform.layout, key, fingerprint)), None)


def _has_frames(layout: StorageLayout, video_key: str, fingerprint: str) -> bool:
    stored = frames_identity(layout, video_key)
    return stored is not None and stored.fingerprint == fingerprint


def take_frames_of(platform: Platform, original: str, video_key: str, fingerprint: str) -> int | None:
    """Link a video's frames to those of `original`, which has the same bytes. Return their number.

    If that fails, for example because the frames of `original` are missing or damaged, nothing is changed, and the
    result is None.
    """
    layout = platform.layout
    try:
        rows = read_frames(layout, original, FRAMES_SCHEMA.names).to_pylist()
        images = read_frame_images(layout, original)
        with atomic_folder(layout.frames_folder(video_key)) as partial:
            for row in rows:
                _link(images[row["frame_index"]].file.path, partial / row["file_name"])
                if sha256_of_file(partial / row["file_name"]) != row["sha256"]:
                    raise _NotTheSameError(f"{row['frame_id']} is damaged")
                row |= {"video_key": video_key, "frame_id": make_frame_id(video_key, row["frame_index"])}
            _write_table(partial / FRAMES_TABLE_NAME, rows, fingerprint)
    except (OSError, DataMinerError) as error:
        logger.warning(
            "%s: frames are extracted from its own file, because the frames of %s cannot be used: %s",
            video_key,
            original,
            error,
        )
        return None
    return len(rows)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # the file system does not support links, or this file has too many
        shutil.copyfile(source, target)


def _write_table(path: Path, rows: "list[dict[str, object]]", fingerprint: str) -> None:
    with table_writer(path, FRAMES_SCHEMA, fingerprint=fingerprint) as writer:
        for start in range(0, max(len(rows), 1), FRAMES_ROWS_PER_GROUP):
            writer.write_table(table_from_rows(rows[start : start + FRAMES_ROWS_PER_GROUP], FRAMES_SCHEMA))
