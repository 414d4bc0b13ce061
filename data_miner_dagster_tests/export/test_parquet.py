"""Tests of a release's tables. test_verification.py tests that the read-back finds each fault."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.export.parquet import (
    BOXES_SCHEMA,
    IMAGES_SCHEMA,
    ParquetWriter,
    boxes_table,
    images_table,
    read_images,
    read_videos,
    videos_table,
)
from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster.export.rows import RowWriter
from data_miner_dagster_tests.support.releases import (
    IMAGES,
    JUDGED_HEADER,
    JUDGED_IMAGES,
    release_image,
    write_images,
    write_sample_videos,
)

CASES: dict[str, tuple[ReleaseImage, ...]] = {
    "no images": (),
    "an image without boxes": (release_image(1, "train", "files-a", 0),),
    "boxes of the last image alone": (release_image(1, "val", "files-a", 0), IMAGES[2]),
    "some of all": IMAGES,
    "what people said, and what is unsure": JUDGED_IMAGES,
    "odd values": (
        release_image(1, "test", "files-ü", 0, (1, (0.001, 0.002, 0.003, 0.004)), pts=-5, similarity=-0.25),
        release_image(2, "test", "files-ü", 1, time_base_denominator=90_000, similar_prompt='a\nline, "quoted"'),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_read_images__what_was_written(tmp_path: Path, case: str) -> None:
    write_images(ParquetWriter(tmp_path, JUDGED_HEADER.extra_columns), CASES[case])
    assert tuple(read_images(tmp_path)) == CASES[case]


def test_parquet_writer__rows(tmp_path: Path) -> None:
    write_images(ParquetWriter(tmp_path))
    images, boxes = (pq.ParquetFile(path).read() for path in (images_table(tmp_path), boxes_table(tmp_path)))
    assert (images.schema, boxes.schema) == (IMAGES_SCHEMA, BOXES_SCHEMA)
    assert images["num_boxes"].to_pylist() == [2, 0, 1, 1]
    assert boxes.to_pylist()[1] == {
        "image_id": 1,
        "file_name": "train/files-a_000000.jpg",
        "split": "train",
        "frame_id": "files-a/000000",
        "video_key": "files-a",
        "video_url": "https://videos.example/files-a",
        "pts_seconds": 0.0,
        "class_index": 1,
        "class_name": "bicycle",
        "confidence": 0.5,
        "x_min": 10.5,
        "y_min": 8.25,
        "x_max": 30.0,
        "y_max": 47.0,
        "prompt": "a bicycle",
        "detector": "lite",
        "num_agreeing_detectors": 1,
        "verdict": None,
        "answer_id": None,
        "confidence_calibrated": None,
        "is_unsure": False,
    }


@pytest.mark.parametrize(("num_rows", "groups"), [(0, []), (2, [2]), (3, [3]), (7, [3, 3, 1])])
def test_row_writer__groups_of_bounded_size(tmp_path: Path, num_rows: int, groups: list[int]) -> None:
    path = tmp_path / "a.parquet"
    writer = RowWriter(path, pa.schema([pa.field("number", pa.int64())]), rows_per_group=3)
    for number in range(num_rows):
        writer.add({"number": number})
    writer.close()
    assert pq.ParquetFile(path).read()["number"].to_pylist() == list(range(num_rows))
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == groups


def test_read_videos__what_was_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_sample_videos(tmp_path)
    found = [(video.video_key, video.split, video.num_images, video.num_boxes) for video in read_videos(tmp_path)]
    assert found == [("files-a", "train", 2, 2), ("files-b", "val", 1, 1), ("files-c", "train", 1, 1)]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"<html>504</html>"])
def test_read__a_damaged_table_is_one_line_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    write_images(ParquetWriter(tmp_path))
    write_sample_videos(tmp_path)
    for path, read in (
        (videos_table(tmp_path), lambda: read_videos(tmp_path)),
        (boxes_table(tmp_path), lambda: list(read_images(tmp_path))),
        (images_table(tmp_path), lambda: list(read_images(tmp_path))),
    ):
        whole = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(
            DataMinerError, match=rf"{path.name} is damaged \(.*`data-miner run --config FILE --force`"
        ) as raised:
            read()
        assert "\n" not in str(raised.value)
        path.unlink()
        with pytest.raises(FileNotFoundError):
            read()
        path.write_bytes(whole)
