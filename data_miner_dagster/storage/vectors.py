"""Vectors in .npz files: the embeddings of a video's frames, of a project's representatives, and of single prompts.

Members of the archive are verified against their checksums before use. Nothing is unpickled.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.storage.atomic import atomic_path
from data_miner_dagster.storage.damage import damaged, reading


@dataclass(frozen=True, slots=True)
class StoredEmbeddings:
    """The embeddings of one video's frames.

    `vectors` is (N, D) float16, with unit length up to rounding. Row i belongs to frame `frame_indices[i]`, and the
    indices are ascending. `fingerprint` covers the content of the frames and the encoder (weights, revision,
    preprocessing).
    """

    frame_indices: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float16]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StoredRepresentatives:
    """The vectors of a project's representatives, which are compared with the frames of new videos.

    Adding videos therefore does not require reading earlier ones. Row i of `vectors` (R, D) belongs to `frame_ids[i]`.
    Rows are ordered by generation, then by quality, best first. `fingerprint` is the fingerprint of the table of
    duplicates.
    """

    frame_ids: npt.NDArray[np.str_]
    vectors: npt.NDArray[np.float16]
    fingerprint: str


def write_embeddings(path: Path, embeddings: StoredEmbeddings) -> None:
    """Write embeddings atomically. The same content yields the same bytes."""
    write_arrays(
        path,
        frame_indices=embeddings.frame_indices.astype(np.int32),
        vectors=embeddings.vectors.astype(np.float16),
        fingerprint=np.array(embeddings.fingerprint),
    )


def read_embeddings(path: Path) -> StoredEmbeddings | None:
    """Return the stored embeddings, or None if the file does not exist.

    Raises:
        DamagedFileError: the file exists but cannot be read.
    """
    return StoredEmbeddings(*_read_rows(path, "frame_indices")) if path.is_file() else None


def write_representatives(path: Path, representatives: StoredRepresentatives) -> None:
    """Write representatives atomically. The same content yields the same bytes."""
    write_arrays(
        path,
        frame_ids=representatives.frame_ids.astype(np.str_),
        vectors=representatives.vectors.astype(np.float16),
        fingerprint=np.array(representatives.fingerprint),
    )


def read_representatives(path: Path, *, fingerprint: str) -> StoredRepresentatives | None:
    """Return the stored representatives of the table of duplicates whose fingerprint is `fingerprint`.

    The result is None if the file is missing or unreadable, or has another fingerprint.
    """
    if read_vectors_fingerprint(path) != fingerprint:
        return None
    try:
        return StoredRepresentatives(*_read_rows(path, "frame_ids"))
    except (FileNotFoundError, DamagedFileError):
        return None


def read_vectors_fingerprint(path: Path) -> str | None:
    """Return the fingerprint of a file of vectors without reading them, or None if there is no readable file."""
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            array = archive.read("fingerprint.npy")
            # numpy's header is one line of text, followed by the string as UTF-32. Parsing the header properly would
            # take twice as long as everything else, and every stage does this for every video of a project.
            return array.partition(b"\n")[2].decode("utf-32-le").rstrip("\0")
    except (FileNotFoundError, DamagedFileError):
        return None


def _read_rows(path: Path, ids_name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any], str]:
    """Return the (N,) ids, the (N, D) vectors, and the fingerprint.

    Raises:
        FileNotFoundError: the file does not exist.
        DamagedFileError: the file cannot be read, or the numbers of ids and vectors differ.
    """
    ids, vectors, fingerprint = read_arrays(path, ids_name, "vectors", "fingerprint")
    if vectors.ndim != 2 or ids.shape != vectors.shape[:1]:
        raise damaged(path, f"ids of shape {ids.shape} do not match vectors of shape {vectors.shape}")
    return ids, vectors, str(fingerprint)


def write_arrays(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Write arrays by name to an .npz file, atomically. The same arrays in the same order yield the same bytes."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub mistakes the arrays for its flag `allow_pickle`


def read_arrays(path: Path, *names: str) -> list[npt.NDArray[Any]]:
    """Return the arrays with the given names from an .npz file, in the order of `names`.

    Raises:
        FileNotFoundError: the file does not exist.
        DamagedFileError: the file cannot be read, or lacks one of the arrays.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        # read whole members first: a corrupt header could request any amount of memory
        contents = [archive.read(f"{name}.npy") for name in names]
        return [np.lib.format.read_array(io.BytesIO(content), allow_pickle=False) for content in contents]
