from pathlib import Path

import pytest

from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster.export.shards import ShardedWriter
from data_miner_dagster_tests.support.releases import jpeg_of, write_images, write_pictures


class Noted:
    """A shard that records the calls to it."""

    def __init__(self, notes: list[str], name: str) -> None:
        self._notes = notes
        self._name = name

    def add(self, image: ReleaseImage, content: bytes) -> None:
        assert content == jpeg_of(image.image_id)
        self._notes.append(f"{self._name} {image.image_id}")

    def close(self) -> None:
        self._notes.append(f"{self._name} ends")


@pytest.mark.parametrize("most", [{"max_shard_bytes": 1}, {"max_shard_bytes": 1 << 30, "max_shard_images": 1}])
def test_sharded_writer__a_full_shard_is_closed_before_the_next_is_opened(tmp_path: Path, most: dict[str, int]) -> None:
    write_pictures(tmp_path)
    notes: list[str] = []
    write_images(ShardedWriter(tmp_path, lambda split, number: Noted(notes, f"{split}-{number}"), **most))
    assert notes == [
        *("train-0 1", "train-0 ends", "train-1 2", "val-0 3", "train-1 ends", "train-2 4"),
        *("val-0 ends", "train-2 ends"),
    ]


def test_sharded_writer__no_images(tmp_path: Path) -> None:
    notes: list[str] = []
    write_images(ShardedWriter(tmp_path, lambda split, number: Noted(notes, f"{split}-{number}"), 1), ())
    assert notes == []
