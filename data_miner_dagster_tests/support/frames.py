"""Frames as extraction writes them. No other module of the tests knows all columns of `frames.parquet`."""

import hashlib
from collections.abc import Sequence
from typing import Any

from data_miner_dagster.domain.keys import frame_file_name, make_frame_id
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import table_from_rows, write_table


def frame_rows(video_key: str, num_frames: int, *, seconds_apart: float = 1.0, **columns: Any) -> list[dict[str, Any]]:
    """Return rows for frames of 64 by 48 pixels that are all different and have no quality flag.

    Args:
        video_key: the key of the video.
        num_frames: the number of rows.
        seconds_apart: the time between two consecutive frames.
        columns: values that replace the defaults. A sequence has one value per frame; a string, or any value that is
            not a sequence, applies to all frames.
    """
    numbers = range(num_frames)
    values: dict[str, Any] = {
        "frame_id": [make_frame_id(video_key, index) for index in numbers],
        "video_key": video_key,
        "frame_index": numbers,
        "file_name": [frame_file_name(index) for index in numbers],
        "pts": [round(index * seconds_apart * 1000) for index in numbers],
        "time_base_numerator": 1,
        "time_base_denominator": 1000,
        "pts_seconds": [index * seconds_apart for index in numbers],
        "source_frame_number": numbers,
        "is_keyframe": True,
        "width": 64,
        "height": 48,
        "size_bytes": 1000,
        "sha256": [f"{index:064x}" for index in numbers],
        "sharpness": 100.0,
        "brightness": 100.0,
        "contrast": 50.0,
        "is_letterboxed": False,
        "perceptual_hash": numbers,
        "text_share": None,
        "plain_share": None,
        "quality_flag": None,
    }
    unknown = columns.keys() - values.keys()
    if unknown:
        raise ValueError(f"frames have no column {', '.join(sorted(unknown))}")
    values |= columns
    by_column = {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * num_frames
        for name, value in values.items()
    }
    return [dict(zip(by_column, row, strict=True)) for row in zip(*by_column.values(), strict=True)]


def write_frames(
    layout: StorageLayout, video_key: str, num_frames: int, *, fingerprint: str = "frames-1", **columns: Any
) -> None:
    """Write a video's `frames.parquet`; `columns` are as in `frame_rows`."""
    table = table_from_rows(frame_rows(video_key, num_frames, **columns), FRAMES_SCHEMA)
    write_table(layout.frames_table(video_key), table, fingerprint=fingerprint)


def write_pictures(
    layout: StorageLayout, video_key: str, contents: Sequence[bytes], *, fingerprint: str = "frames-1", **columns: Any
) -> None:
    """Write image files as a video's frames, and `frames.parquet` with the sizes and hashes of the files."""
    folder = layout.frames_folder(video_key)
    folder.mkdir(parents=True, exist_ok=True)
    for index, content in enumerate(contents):
        (folder / frame_file_name(index)).write_bytes(content)
    of_files = {
        "size_bytes": [len(content) for content in contents],
        "sha256": [hashlib.sha256(content).hexdigest() for content in contents],
    }
    write_frames(layout, video_key, len(contents), fingerprint=fingerprint, **(of_files | columns))
