"""The manifest of the pictures around a video's frames, which are used for following objects."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from data_miner_dagster.domain.tables import WINDOWS_SCHEMA
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import FINGERPRINT_KEY, read_metadata, read_rows

TIMES_KEY: Final = "data_miner.times_us"
STEPS_KEY: Final = "data_miner.steps_us"
"""The metadata keys for the requested times of pictures, and for the intervals at which pictures of the whole clip were
requested, in microseconds."""


@dataclass(frozen=True, slots=True)
class StoredWindows:
    """The footer of a manifest of windows.

    It contains the fingerprint of the inputs, the requested times, and the intervals at which pictures of the whole
    clip were requested.
    """

    fingerprint: str
    times_us: frozenset[int]
    steps_us: frozenset[int]


def times_metadata(times_us: tuple[int, ...], steps_us: tuple[int, ...]) -> Mapping[str, str]:
    """Return the Parquet metadata that records requested times and intervals, in microseconds."""
    return {TIMES_KEY: json.dumps(times_us), STEPS_KEY: json.dumps(steps_us)}


def read_stored_windows(layout: StorageLayout, video_key: str) -> StoredWindows | None:
    """Return the footer of a video's manifest of windows, or None if there is no readable manifest."""
    metadata = read_metadata(layout.windows_table(video_key))
    fingerprint = metadata.get(FINGERPRINT_KEY.decode())
    if fingerprint is None or TIMES_KEY not in metadata:
        return None
    times, steps = (frozenset(json.loads(metadata[key])) for key in (TIMES_KEY, STEPS_KEY))
    return StoredWindows(fingerprint, times, steps)


def read_windows(layout: StorageLayout, video_key: str) -> Iterator[dict[str, Any]]:
    """Return an iterator over the rows of a video's manifest, ordered by time. Memory use is bounded.

    Errors are raised during the iteration.

    Raises:
        FileNotFoundError: the manifest does not exist.
        DamagedFileError: the file cannot be read, or lacks a column.
    """
    return read_rows(layout.windows_table(video_key), WINDOWS_SCHEMA.names)
