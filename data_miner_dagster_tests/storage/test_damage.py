"""Test every reader of derived files with a file that is empty, truncated, full of noise, or has one flipped bit."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.storage.by_video import TableByVideo
from data_miner_dagster.storage.tables import (
    read_batches,
    read_fingerprint,
    read_identity,
    read_metadata,
    read_table,
    write_table,
)
from data_miner_dagster.storage.vectors import (
    StoredEmbeddings,
    StoredRepresentatives,
    read_embeddings,
    read_representatives,
    read_vectors_fingerprint,
    write_embeddings,
    write_representatives,
)

ROWS = pa.table(
    {
        "video_key": ["a"] * 500 + ["b"] * 500,
        "value": np.random.default_rng(1).normal(size=1000),
        "word": [f"word {index}" for index in range(1000)],
    }
)
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda _content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "noise": lambda content: random.Random(3).randbytes(len(content)),
    "text": lambda _content: b"<html>504 Gateway Time-out</html>",
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_table(tmp_path / "table.parquet", ROWS, fingerprint="f")
    return tmp_path / "table.parquet"


@pytest.mark.parametrize("damage", DAMAGES)
def test_tables__one_that_cannot_be_read_is_absent_or_says_so(table: Path, damage: str) -> None:
    table.write_bytes(DAMAGES[damage](table.read_bytes()))
    assert (read_identity(table), read_fingerprint(table), read_metadata(table)) == (None, None, {})
    for read in (
        lambda: read_table(table, ["value"]),
        lambda: list(read_batches(table, ["value"])),
        lambda: TableByVideo(table, ["value"]),
    ):
        with pytest.raises(DamagedFileError, match=r"table\.parquet is damaged \(.*it is recreated") as raised:
            read()
        assert "\n" not in str(raised.value)


def test_tables__a_flipped_bit_is_never_another_value(table: Path) -> None:
    sound = table.read_bytes()
    rng = random.Random(1)
    num_noticed = 0
    for _ in range(150):
        content = bytearray(sound)
        content[rng.randrange(4, len(content) // 2)] ^= 1 << rng.randrange(8)  # in the data pages, not in the footer
        table.write_bytes(bytes(content))
        try:
            assert read_table(table).equals(ROWS)
        except DamagedFileError:
            num_noticed += 1
    assert num_noticed > 100


def test_tables__columns_that_are_not_there(table: Path) -> None:
    with pytest.raises(DamagedFileError, match="required columns are missing: nowhere"):
        read_table(table, ["value", "nowhere"])
    with pytest.raises(FileNotFoundError):
        read_table(table.with_name("gone.parquet"))


@pytest.mark.parametrize("damage", [*DAMAGES, "flipped"])
def test_embeddings__one_that_cannot_be_read_is_absent_or_says_so(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npz"
    vectors = np.random.default_rng(1).normal(size=(20, 64)).astype(np.float16)
    write_embeddings(path, StoredEmbeddings(np.arange(20, dtype=np.int32), vectors, "f"))
    content = path.read_bytes()
    flipped = content.replace(vectors.tobytes()[:64], bytes(64), 1)
    assert flipped != content
    path.write_bytes(flipped if damage == "flipped" else DAMAGES[damage](content))
    assert read_vectors_fingerprint(path) == ("f" if damage == "flipped" else None)
    with pytest.raises(DamagedFileError, match=r"a\.npz is damaged"):
        read_embeddings(path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_representatives__one_that_cannot_be_read_is_absent(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "r.npz"
    write_representatives(path, StoredRepresentatives(np.array(["a/0"]), np.ones((1, 4), np.float16), "f"))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert read_representatives(path, fingerprint="f") is None
