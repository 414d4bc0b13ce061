"""The vectors of a project's representatives, so that adding videos reads nothing of the earlier ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
    """Return what is stored for the table of this fingerprint, or None. Never unpickles."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as archive:
        if str(archive["fingerprint"]) != fingerprint:
            return None
        stored = StoredRepresentatives(archive["frame_ids"], archive["vectors"], fingerprint)
    return stored if len(stored.frame_ids) == len(stored.vectors) else None
