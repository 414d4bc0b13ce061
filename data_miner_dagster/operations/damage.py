"""Find damaged derived files and release manifests by reading them, and remove the files that can be recreated.

Belongs here: checking many files. Does not belong here: a reader's handling of a single file (storage/damage.py), and
differences between the catalog and the files (operations/upkeep/inspection.py).
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.export.manifest import MANIFEST_FILE, read_manifest
from data_miner_dagster.storage.changing_folders import paths_below
from data_miner_dagster.storage.damage import reading
from data_miner_dagster.storage.frames import check_frames_schema
from data_miner_dagster.storage.layout import (
    FRAMES_TABLE_NAME,
    PROMPTS_FOLDER_NAME,
    REPRESENTATIVES_NAME,
    StorageLayout,
)
from data_miner_dagster.storage.tables import open_table
from data_miner_dagster.storage.vectors import read_arrays, read_embeddings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file that cannot be read. `message` is one line that names the file.

    `is_derived` is True if the file may be removed, because it can be recreated.
    """

    path: Path
    message: str
    is_derived: bool


def find_damaged_files(layout: StorageLayout, *, video_key: str | None = None) -> Iterator[DamagedFile]:
    """Yield a `DamagedFile` for each unreadable derived file and release manifest under a root.

    If `video_key` is given, only the derived files of that video are read. Images and videos are not read: their
    checksums are compared when they are used.
    """
    for path, is_derived in _candidates(layout, video_key):
        try:
            _read(path)
        except FileNotFoundError:  # deleted after it was listed
            continue
        except DataMinerError as error:
            yield DamagedFile(path, str(error), is_derived)
        except OSError as error:  # the disk or permissions are the cause, and the content may be intact
            why = error.strerror or error
            message = f"{path} cannot be read ({why}); check the disk and the file's permissions"
            yield DamagedFile(path, message, is_derived=False)


def remove_damaged_files(layout: StorageLayout, *, video_key: str | None = None) -> list[Path]:
    """Remove the damaged derived files under a root. Return their paths.

    If `video_key` is given, only the files of that video are examined.

    Files that cannot be read because of the disk or their permissions are kept. The removed files are recreated when
    they are needed. Workers may run at the same time: they replace files by renaming, and a file that was replaced in
    the meantime is not removed.
    """
    removed = []
    identities = {path: _identity(path) for path, is_derived in _candidates(layout, video_key) if is_derived}
    for damaged in find_damaged_files(layout, video_key=video_key):
        if damaged.is_derived and _identity(damaged.path) == identities.get(damaged.path):
            damaged.path.unlink(missing_ok=True)
            logger.warning("%s; the file was removed and will be recreated", damaged.message.partition(";")[0])
            removed.append(damaged.path)
    return removed


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return (status.st_ino, status.st_mtime_ns)


def _candidates(layout: StorageLayout, video_key: str | None) -> Iterator[tuple[Path, bool]]:
    """Yield the path of each file to check, and whether that file is derived."""
    for path in layout.derived_files(video_key):
        yield path, True
    if video_key is None:
        for path in paths_below(layout.releases, f"*/*/{MANIFEST_FILE}"):
            if path.is_file():
                yield path, False


def _read(path: Path) -> None:
    if path.name == MANIFEST_FILE:
        read_manifest(path.parent)
    elif path.suffix == ".json":
        with reading(path):
            if not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
                raise ValueError("not a mapping of keys to values")
    elif path.parent.name == PROMPTS_FOLDER_NAME:
        read_arrays(path, "vector")
    elif path.name == REPRESENTATIVES_NAME:
        read_arrays(path, "frame_ids", "vectors", "fingerprint")
    elif path.suffix == ".npz":
        read_embeddings(path)
    else:
        with reading(path), open_table(path) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group)
            if path.name == FRAMES_TABLE_NAME:
                check_frames_schema(path, file.schema_arrow)
