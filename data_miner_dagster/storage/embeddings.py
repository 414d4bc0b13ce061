"""Embeddings of one video's frames by one encoder, as one .npz file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.storage.arrays import read_arrays
from data_miner_dagster.storage.atomic import atomic_path
from data_miner_dagster.storage.damage import damaged, reading


@dataclass(frozen=True, slots=True)
class StoredEmbeddings:
    """`vectors` is (N, D) float16, unit length up to rounding; row i belongs to frame `frame_indices[i]`, ascending.

    `fingerprint` covers the frames (their content) and the encoder (weights, revision, preprocessing).
    """

    frame_indices: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float16]
    fingerprint: str


def write_embeddings(path: Path, embeddings: StoredEmbeddings) -> None:
    """Write atomically; same content, same bytes."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            frame_indices=embeddings.frame_indices.astype(np.int32),
            vectors=embeddings.vectors.astype(np.float16),
            fingerprint=np.array(embeddings.fingerprint),
        )


def read_embeddings(path: Path) -> StoredEmbeddings | None:
    """Return the stored embeddings, or None where there is no such file. Never unpickles.

    Raises:
        DamagedFileError: there is one, and it cannot be read.
    """
    if not path.is_file():
        return None
    frame_indices, vectors, fingerprint = read_arrays(path, "frame_indices", "vectors", "fingerprint")
    if vectors.ndim != 2 or frame_indices.shape != vectors.shape[:1]:
        raise damaged(path, f"{frame_indices.shape} frames, {vectors.shape} vectors")
    return StoredEmbeddings(frame_indices, vectors, str(fingerprint))


def read_embeddings_fingerprint(path: Path) -> str | None:
    """Return only the fingerprint, None where there is no readable file: the vectors are not read."""
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            array = archive.read("fingerprint.npy")
            # numpy's header is one line of text; what follows is the string as UTF-32. Parsing the header properly
            # would take twice as long as all the rest, and every stage asks this of every video of a project.
            return array.partition(b"\n")[2].decode("utf-32-le").rstrip("\0")
    except (FileNotFoundError, DamagedFileError):
        return None
