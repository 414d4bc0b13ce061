"""Read the rows for single videos or a few frames, one row group at a time."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.storage.damage import reading
from data_miner_dagster.storage.tables import open_table

_NO_GROUP: Final = -1


def runs_of(keys: pa.Array) -> list[tuple[str, int, int]]:
    """Return a (key, start, stop) tuple for each run of equal neighbours, in order. The ranges are half-open.

    In a sorted column, each key has exactly one run.
    """
    if pa.types.is_dictionary(keys.type):
        keys = keys.dictionary_decode()
    runs = pc.run_end_encode(keys)
    stops = runs.run_ends.to_pylist()
    return list(zip(runs.values.to_pylist(), [0, *stops[:-1]], stops, strict=True)) if stops else []


class TableByVideo:
    """The rows of a table, by video, in stored order, with only the given columns.

    The table has a `video_key` column, which is read first to index the rows of each video. A lookup reads the row
    groups it needs and caches the last one, so lookups in stored order read each group once.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the table cannot be read. Lookups raise this error, too.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._file = open_table(path)
        self._columns = list(columns)
        self._places: dict[str, list[tuple[int, int, int]]] = {}  # video → (row group, offset, length)
        for group in range(self._file.num_row_groups):
            with reading(path):
                keys = self._file.read_row_group(group, columns=["video_key"])["video_key"].combine_chunks()
            for key, start, stop in runs_of(keys):
                self._places.setdefault(key, []).append((group, start, stop - start))
        self._cached_group = _NO_GROUP
        with reading(path):
            self._cached: pa.Table = self._file.schema_arrow.empty_table().select(self._columns)

    @property
    def video_keys(self) -> list[str]:
        """The keys of the videos that have rows, sorted."""
        return sorted(self._places)

    def rows_of(self, video_key: str) -> pa.Table:
        """Return one video's rows, or an empty table if it has none."""
        parts = [self._group(group).slice(start, length) for group, start, length in self._places.get(video_key, [])]
        return pa.concat_tables(parts) if parts else self._cached.slice(0, 0)

    def _group(self, group: int) -> pa.Table:
        if group != self._cached_group:
            with reading(self._path):
                self._cached = self._file.read_row_group(group, columns=self._columns)
            self._cached_group = group
        return self._cached


def rows_of_frames(path: Path, frame_ids: Collection[str], columns: Sequence[str]) -> pa.Table:
    """Return the rows for some frames from a table that is sorted by `frame_id`, in stored order.

    Only the row groups that may contain one of the frames are read, one at a time.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the file cannot be read.
    """
    wanted = pa.array(sorted(frame_ids), pa.string())
    with open_table(path) as file, reading(path):
        found = [file.schema_arrow.empty_table().select(list(columns))]
        position = file.schema_arrow.get_field_index("frame_id")
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(position).statistics
            if statistics is None or any(statistics.min <= frame_id <= statistics.max for frame_id in frame_ids):
                rows = file.read_row_group(group, columns=[*{"frame_id", *columns}])
                found.append(rows.filter(pc.is_in(rows["frame_id"], wanted)).select(list(columns)))
    return pa.concat_tables(found)
