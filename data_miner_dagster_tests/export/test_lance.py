"""Tests of Lance tables with Lance's own library. test_verification.py tests that the read-back finds each fault."""

from pathlib import Path

import lance

from data_miner_dagster.export.lance import LanceWriter, split_table
from data_miner_dagster_tests.support.releases import jpeg_of, write_images, write_pictures


def test_lance_writer__rows_of_a_split_in_any_order(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    folder = tmp_path / "an export of Füße #1, 100% {a,b}"
    folder.mkdir()
    write_images(LanceWriter(folder, tmp_path, max_shard_bytes=1))
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["train.lance", "val.lance"]
    train = lance.dataset(split_table(folder, "train"))
    # one fragment per full shard, and a single version that contains all of them
    assert ([fragment.count_rows() for fragment in train.get_fragments()], train.version) == ([1, 1, 1], 1)
    assert train.take([2, 0], columns=["image", "image_id", "file_name"]).to_pylist() == [
        {"image": jpeg_of(4), "image_id": 4, "file_name": "files-c_000001.jpg"},
        {"image": jpeg_of(1), "image_id": 1, "file_name": "files-a_000000.jpg"},
    ]
    assert train.to_table(columns=["objects"], filter="frame_id = 'files-a/000000'").to_pylist() == [
        {
            "objects": {
                "bbox": [[4.0, 6.0, 36.0, 24.0], [10.5, 8.25, 19.5, 38.75]],
                "category": [0, 1],
                "category_name": ["person", "bicycle"],
                "confidence": [0.5, 0.5],
            }
        }
    ]


def test_lance_writer__no_images(tmp_path: Path) -> None:
    write_images(LanceWriter(tmp_path, tmp_path), ())
    assert list((tmp_path / "data").iterdir()) == []
