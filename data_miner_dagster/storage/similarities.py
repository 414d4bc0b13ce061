"""The similarity of every frame of a project to every prompt, in row groups of whole videos.

Columns: the frame's identity, time and quality flag, then one float16 column per prompt, `similarity:<words>`, sorted
by words. A similarity is null if the frame could not be read. The embeddings are float16, so further digits would be
noise. The header in the Parquet metadata records the encoder, prompts and videos. It shows which videos have changed
and must be compared again.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_miner_dagster.domain.errors import DamagedFileError, PermanentError
from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.storage.by_video import runs_of
from data_miner_dagster.storage.damage import reading
from data_miner_dagster.storage.tables import open_table, read_metadata, table_writer

ROW_GROUP_FRAMES: Final = 65_536
"""A row group is closed once it has at least this many frames. A video is never split between row groups."""
FRAME_COLUMNS: Final = ("frame_id", "video_key", "frame_index", "pts_seconds", "quality_flag")

_HEADER_KEY: Final = "data_miner.similarities"
_PREFIX: Final = "similarity:"


class ScoredVideo(NamedTuple):
    """A video in a table of similarities. It is a tuple, so that JSON stores it as a list. `num_frames` counts rows."""

    video_key: str
    embeddings_fingerprint: str
    num_frames: int


@dataclass(frozen=True, slots=True)
class SimilaritiesHeader:
    """The inputs of a table of similarities. `texts` are sorted, and `videos` are in the order of the rows."""

    encoder_name: str
    encoder_fingerprint: str
    texts: tuple[str, ...]
    templates: tuple[str, ...]  # the `filtering.templates` into which each prompt is inserted
    videos: tuple[ScoredVideo, ...]
    exemplars: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The sha256 digests of the exemplars, by the words of their prompt. Prompts without exemplars are omitted."""
    exemplar_scale: str = ""
    """A fingerprint of the exemplars' encoder and weight, or "" if there are no exemplars."""

    def as_json(self) -> dict[str, object]:
        """Return the header as plain values. If there are no exemplars, the keys about exemplars are omitted."""
        return {name: value for name, value in as_json(self).items() if value or not name.startswith("exemplar")}

    def has_same_scale(self, other: "SimilaritiesHeader") -> bool:
        """Return whether one table can reuse rows from the other.

        That is so if their encoder fingerprints, prompts, templates and exemplars are equal.
        """
        return replace(self, encoder_name="", videos=()) == replace(other, encoder_name="", videos=())


def column_of(text: str) -> str:
    """Return the name of a prompt's column."""
    return f"{_PREFIX}{text}"


def similarities_schema(texts: Sequence[str]) -> pa.Schema:
    """Return the schema of a table with one column per prompt."""
    frame_fields = [FRAMES_SCHEMA.field(name) for name in FRAME_COLUMNS]
    return pa.schema(frame_fields + [pa.field(column_of(text), pa.float16()) for text in texts])


def similarities_of(frames: pa.Table, texts: Sequence[str], similarities: npt.NDArray[np.float16]) -> pa.Table:
    """Return one video's rows: FRAME_COLUMNS of `frames`, and one column of similarities per text.

    `similarities` is (N, P). Its NaN values, which stand for unreadable frames, become null.
    """
    columns = [pa.array(similarities[:, position], pa.float16(), from_pandas=True) for position in range(len(texts))]
    identity = [frames.column(name) for name in FRAME_COLUMNS]
    return pa.Table.from_arrays([*identity, *columns], schema=similarities_schema(texts))


def similarities_of_frame(path: Path, frame_id: str) -> dict[str, float]:
    """Return the similarity of one frame to each prompt, by the words of the prompt.

    The dict is empty if the table or the frame is missing, or if the frame could not be read.

    Raises:
        DamagedFileError: the table cannot be read.
    """
    try:
        with reading(path):
            rows = pq.read_table(path, filters=pc.field("frame_id") == frame_id).to_pylist()
    except FileNotFoundError:
        return {}
    found = {
        name.removeprefix(_PREFIX): value for row in rows for name, value in row.items() if name.startswith(_PREFIX)
    }
    return {text: value for text, value in found.items() if value is not None}


def similarity_values(table: pa.Table, text: str) -> npt.NDArray[np.float16]:
    """Return one prompt's column as an (N,) float16 array, with NaN for null."""
    values: npt.NDArray[np.float16] = table.column(column_of(text)).to_numpy()
    return values.astype(np.float16, copy=False)


class SimilaritiesWriter:
    """A writer that combines the rows of several videos into row groups.

    The videos must be written in the order of the header.
    """

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._pending: list[pa.Table] = []
        self._num_pending = 0

    def write_video(self, rows: pa.Table) -> None:
        """Add one video's rows to the current row group, and close the group if it is large enough."""
        self._pending.append(rows)
        self._num_pending += rows.num_rows
        if self._num_pending >= ROW_GROUP_FRAMES:
            self.flush()

    def flush(self) -> None:
        """Close the current row group."""
        if self._num_pending:
            self._writer.write_table(pa.concat_tables(self._pending), row_group_size=self._num_pending)
        self._pending, self._num_pending = [], 0


@contextmanager
def similarities_writer(path: Path, header: SimilaritiesHeader, *, fingerprint: str) -> Iterator[SimilaritiesWriter]:
    """Yield a writer of a table of similarities. The file appears if the block ends without an error.

    The same videos yield the same bytes, whether their similarities are new or reused.
    """
    with table_writer(
        path,
        similarities_schema(header.texts),
        fingerprint=fingerprint,
        metadata={_HEADER_KEY: json.dumps(header.as_json(), ensure_ascii=False)},
        dictionary_columns=("video_key", "quality_flag"),
    ) as parquet:
        writer = SimilaritiesWriter(parquet)
        yield writer
        writer.flush()


def read_header(path: Path) -> SimilaritiesHeader | None:
    """Return the header of a table of similarities, or None if there is no readable table with a header."""
    encoded = read_metadata(path).get(_HEADER_KEY)
    if encoded is None:
        return None
    try:
        with reading(path):
            return from_json(SimilaritiesHeader, json.loads(encoded))
    except DamagedFileError:
        return None


@dataclass(frozen=True, slots=True)
class SimilaritiesPart:
    """A row group of V whole videos. Video v has the rows video_offsets[v]:video_offsets[v+1] (half-open)."""

    videos: tuple[ScoredVideo, ...]
    video_offsets: npt.NDArray[np.int64]
    rows: pa.Table


def read_parts(path: Path, header: SimilaritiesHeader) -> Iterator[SimilaritiesPart]:
    """Yield the row groups in order, with only one in memory at a time.

    A video without frames is in the part of the next video that has frames, or in no part if no such video follows.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the table cannot be read.
        PermanentError: the rows do not match the order of videos in the header.
    """
    with open_table(path) as file:
        remaining = list(reversed(header.videos))
        for group in range(file.num_row_groups):
            with reading(path):
                rows = file.read_row_group(group)
            videos: list[ScoredVideo] = []
            num_frames = 0
            while num_frames < rows.num_rows and remaining:
                videos.append(remaining.pop())
                num_frames += videos[-1].num_frames
            _check_whose(path, rows, videos)
            offsets = np.cumsum([0, *(video.num_frames for video in videos)], dtype=np.int64)
            yield SimilaritiesPart(tuple(videos), offsets, rows)


def _check_whose(path: Path, rows: pa.Table, videos: Sequence[ScoredVideo]) -> None:
    found = [(key, stop - start) for key, start, stop in runs_of(rows["video_key"].combine_chunks())]
    if found != [(video.video_key, video.num_frames) for video in videos if video.num_frames]:
        raise PermanentError(
            f"the rows of {path} do not belong to the videos that its header names; run "
            "`data-miner backfill --asset filtered_frames --project PROJECT --force`"
        )


def read_videos(path: Path, header: SimilaritiesHeader) -> Iterator[tuple[ScoredVideo, pa.Table]]:
    """Yield the videos in a table of similarities in order, each with its rows.

    Only one row group is in memory at a time. Videos without frames are omitted if no video with frames follows.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the table cannot be read.
        PermanentError: the rows do not match the order of videos in the header.
    """
    for part in read_parts(path, header):
        for position, video in enumerate(part.videos):
            yield video, part.rows.slice(int(part.video_offsets[position]), video.num_frames)
