"""Test stored similarities: row groups contain whole videos, and are read back as they were written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.storage import similarities as similarities_module
from data_miner_dagster.storage.similarities import (
    FRAME_COLUMNS,
    ScoredVideo,
    SimilaritiesHeader,
    read_header,
    read_parts,
    read_videos,
    similarities_of,
    similarities_schema,
    similarities_writer,
    similarity_values,
)
from data_miner_dagster.storage.tables import read_identity, read_metadata, table_from_rows, table_writer

TEXTS = ("a cat", 'quote " and ünïcode')


def header_of(*sizes: int) -> SimilaritiesHeader:
    videos = tuple(ScoredVideo(f"local-{number}", f"embeddings-{number}", size) for number, size in enumerate(sizes))
    return SimilaritiesHeader("axis", "axis-1", TEXTS, ("{}",), videos)


def write(path: Path, header: SimilaritiesHeader) -> None:
    schema = FRAMES_SCHEMA.empty_table().select(list(FRAME_COLUMNS)).schema
    with similarities_writer(path, header, fingerprint="fp") as writer:
        for video in header.videos:
            rows = [
                {
                    "frame_id": f"{video.video_key}/{index:06d}",
                    "video_key": video.video_key,
                    "frame_index": index,
                    "pts_seconds": float(index),
                    "quality_flag": None,
                }
                for index in range(video.num_frames)
            ]
            values = np.full((video.num_frames, len(TEXTS)), 0.25, np.float16)
            values[:1] = np.nan
            writer.write_video(similarities_of(table_from_rows(rows, schema), TEXTS, values))


def test_read_header__no_table(tmp_path: Path) -> None:
    assert read_header(tmp_path / "none.parquet") is None
    assert read_identity(tmp_path / "none.parquet") is None


def test_similarities__no_videos(tmp_path: Path) -> None:
    path = tmp_path / "similarities.parquet"
    write(path, header_of())
    assert list(read_parts(path, header_of())) == []
    assert read_header(path) == header_of()


def test_similarities__whole_videos_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarities_module, "ROW_GROUP_FRAMES", 4)
    path, header = tmp_path / "similarities.parquet", header_of(3, 0, 2, 1, 5, 0, 1)
    write(path, header)
    parts = list(read_parts(path, header))
    assert [[video.num_frames for video in part.videos] for part in parts] == [[3, 0, 2], [1, 5], [0, 1]]
    assert [part.video_offsets.tolist() for part in parts] == [[0, 3, 3, 5], [0, 1, 6], [0, 0, 1]]
    assert read_header(path) == header
    identity = read_identity(path)
    assert identity is not None
    assert (identity.fingerprint, identity.num_rows) == ("fp", 12)
    by_video = {video.video_key: rows.column("frame_id").to_pylist() for video, rows in read_videos(path, header)}
    assert by_video["local-2"] == ["local-2/000000", "local-2/000001"]


@pytest.mark.parametrize("num_frames", [(2, 3), (3, 3), (5,), (3, 2, 1)])
def test_read_parts__rows_of_other_videos(tmp_path: Path, num_frames: tuple[int, ...]) -> None:
    path = tmp_path / "similarities.parquet"
    write(path, header_of(3, 2))
    header = header_of(*num_frames)
    if num_frames == (3, 2, 1):
        header = replace(header, videos=(header.videos[2], *header.videos[:2]))
    with pytest.raises(PermanentError, match="do not belong to the videos that its header names"):
        list(read_parts(path, header))


def test_similarities__float16_with_null_for_unreadable(tmp_path: Path) -> None:
    path, header = tmp_path / "similarities.parquet", header_of(3)
    write(path, header)
    assert pq.read_schema(path).remove_metadata().equals(similarities_schema(TEXTS))
    part = next(read_parts(path, header))
    assert part.rows.column("similarity:a cat").null_count == 1
    values = similarity_values(part.rows, TEXTS[1])
    assert values.dtype == np.float16
    assert np.isnan(values).tolist() == [True, False, False]
    assert values[1] == 0.25


def test_read_header__as_it_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "similarities.parquet"
    write(path, header_of(2))
    stored = (
        '{"encoder_name": "axis", "encoder_fingerprint": "axis-1", "texts": ["a cat", "quote \\" and ünïcode"], '
        '"templates": ["{}"], "videos": [["local-0", "embeddings-0", 2]]}'
    )
    assert read_metadata(path)["data_miner.similarities"] == stored


@pytest.mark.parametrize(
    "header",
    ["{", "[]", "{}", '{"encoder_name": 1, "encoder_fingerprint": "", "texts": [], "templates": [], "videos": []}'],
)
def test_read_header__that_cannot_be_read_is_none(tmp_path: Path, header: str) -> None:
    path = tmp_path / "similarities.parquet"
    schema = similarities_schema(TEXTS)
    with table_writer(path, schema, fingerprint="fp", metadata={"data_miner.similarities": header}):
        pass
    assert read_header(path) is None
