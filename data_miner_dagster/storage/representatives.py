"""The vectors of a project's representatives, so that adding videos reads nothing of the earlier ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.storage.arrays import read_arrays
from data_miner_dagster.storage.atomic import atomic_path


@dataclass(frozen=True, slots=True)
class StoredRepresentatives:
    """Row i of `vectors` (R, D) belongs to `frame_ids[i]`, best first; `fingerprint` is that of their table."""

    frame_ids: npt.NDArray[np.str_]
    vectors: npt.NDArray[np.float16]
    fingerprint: str


def write_representatives(path: Path, representatives: StoredRepresentatives) -> None:
    """Write atomically; same content, same bytes."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            frame_ids=representatives.frame_ids.astype(np.str_),
            vectors=representatives.vectors.astype(np.float16),
            fingerprint=np.array(representatives.fingerprint),
        )


def read_representatives(path: Path, *, fingerprint: str) -> StoredRepresentatives | None:
    """Return what is stored for the table of this fingerprint, None where that cannot be had. Never unpickles."""
    try:
        (made_for,) = read_arrays(path, "fingerprint")
        if str(made_for) != fingerprint:
            return None
        frame_ids, vectors = read_arrays(path, "frame_ids", "vectors")
    except (FileNotFoundError, DamagedFileError):
        return None
    return StoredRepresentatives(frame_ids, vectors, fingerprint) if frame_ids.shape == vectors.shape[:1] else None
