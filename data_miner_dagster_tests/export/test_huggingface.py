"""Tests of the Hugging Face layouts. test_verification.py tests that the read-back finds each fault."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_miner_dagster.export.huggingface import (
    EmbeddedParquetWriter,
    ImageFolderWriter,
    metadata_file,
    shard_files,
)
from data_miner_dagster.export.image_rows import objects_of
from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster_tests.support.releases import (
    HEADER,
    IMAGES,
    jpeg_of,
    release_image,
    write_images,
    write_pictures,
)

OBJECTS: dict[str, tuple[ReleaseImage, dict[str, list[object]]]] = {
    "no boxes": (IMAGES[1], {"bbox": [], "category": [], "category_name": [], "confidence": []}),
    "two boxes": (
        IMAGES[0],
        {
            "bbox": [[4.0, 6.0, 36.0, 24.0], [10.5, 8.25, 19.5, 38.75]],
            "category": [0, 1],
            "category_name": ["person", "bicycle"],
            "confidence": [0.5, 0.5],
        },
    ),
    "a difference that floats cannot say": (
        release_image(1, "train", "files-a", 0, (1, (0.1, 0.1, 0.3, 0.4))),
        {"bbox": [[0.1, 0.1, 0.2, 0.3]], "category": [1], "category_name": ["bicycle"], "confidence": [0.5]},
    ),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_objects_of__a_struct_of_lists(case: str) -> None:
    image, objects = OBJECTS[case]
    assert objects_of(image) == objects


def test_image_folder_writer__no_images(tmp_path: Path) -> None:
    write_images(ImageFolderWriter(tmp_path), ())
    assert list(tmp_path.iterdir()) == []


def test_image_folder_writer__a_table_for_each_split_that_has_images(tmp_path: Path) -> None:
    write_images(ImageFolderWriter(tmp_path))
    tables = {split: metadata_file(tmp_path, split) for split in HEADER.splits}
    assert {split: path.exists() for split, path in tables.items()} == {"train": True, "val": True, "test": False}
    assert [row["file_name"] for row in pq.ParquetFile(tables["train"]).read().to_pylist()] == [
        "files-a_000000.jpg",
        "files-a_000002.jpg",
        "files-c_000001.jpg",
    ]
    (row,) = pq.ParquetFile(tables["val"]).read().to_pylist()
    assert row == {
        "file_name": "files-b_000000.jpg",
        "image_id": 3,
        "width": 64,
        "height": 48,
        "objects": {
            "bbox": [[0.0, 0.0, 64.0, 48.0]],
            "category": [1],
            "category_name": ["bicycle"],
            "confidence": [0.5],
        },
        "frame_id": "files-b/000000",
        "video_key": "files-b",
        "video_url": "https://videos.example/files-b",
        "pts_seconds": 0.0,
        "similarity": 0.75,
        "similar_prompt": "a bicycle",
    }


def test_embedded_parquet_writer__images_are_inside(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    write_images(EmbeddedParquetWriter(tmp_path, tmp_path))
    assert [path.name for path in shard_files(tmp_path, "train")] == ["train-00000.parquet"]
    assert shard_files(tmp_path, "test") == []
    table = pq.ParquetFile(shard_files(tmp_path, "val")[0]).read()
    assert table["image"].to_pylist() == [{"bytes": jpeg_of(3), "path": "files-b_000000.jpg"}]
    assert "file_name" not in table.column_names
    assert json.loads(table.schema.metadata[b"huggingface"]) == {"info": {"features": {"image": {"_type": "Image"}}}}


@pytest.mark.parametrize(("max_bytes", "ids"), [(1, [[1], [2], [4]]), (len(jpeg_of(1)) + 1, [[1, 2], [4]])])
def test_embedded_parquet_writer__a_full_shard_is_followed_by_another(
    tmp_path: Path, max_bytes: int, ids: list[list[int]]
) -> None:
    write_pictures(tmp_path)
    write_images(EmbeddedParquetWriter(tmp_path, tmp_path, max_shard_bytes=max_bytes))
    shards = shard_files(tmp_path, "train")
    assert [path.name for path in shards] == [f"train-{number:05d}.parquet" for number in range(len(ids))]
    assert [pq.ParquetFile(path).read()["image_id"].to_pylist() for path in shards] == ids


def test_shard_files__of_one_split_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a-00000", "a-00001", "a-b-00000", "ab-00000", "a-1", "[a]-00000"):
        (tmp_path / "data" / f"{name}.parquet").touch()
    assert [path.name for path in shard_files(tmp_path, "a")] == ["a-00000.parquet", "a-00001.parquet"]
    assert [path.name for path in shard_files(tmp_path, "[a]")] == ["[a]-00000.parquet"]
