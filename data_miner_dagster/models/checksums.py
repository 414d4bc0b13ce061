"""The files of a model and their checksums, which identify a user's own model."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.fingerprints import sha256_of_file


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model and its checksum."""

    path: str
    sha256: str


def folder_checksums(folder: Path) -> tuple[ModelFile, ...]:
    """Return every file below `folder` with its sha256, ordered by path. If `folder` is a file, return only that file.

    Checksums are cached, so a file is normally read again only if its size or modification time has changed.

    Raises:
        ModelError: there is no file or folder at this path, or the folder contains no files.
    """
    if folder.is_file():
        return (ModelFile(folder.name, _checksum(folder, folder.stat().st_size, folder.stat().st_mtime_ns)),)
    paths = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not paths:
        raise ModelError(
            f"{folder} does not exist or is a folder without files; correct its path in the model's registry entry"
        )
    return tuple(
        ModelFile(path.relative_to(folder).as_posix(), _checksum(path, path.stat().st_size, path.stat().st_mtime_ns))
        for path in paths
    )


@lru_cache(maxsize=1024)
def _checksum(path: Path, _size_bytes: int, _modified_ns: int) -> str:
    return sha256_of_file(path)
