"""Read and write `moved_catalog.json`: the location of a root's catalog after `data-miner migrate-to`.

The file does not contain the password.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.storage.atomic import write_json
from data_miner_dagster.storage.layout import StorageLayout


class MoveState(StrEnum):
    """The progress of a move. Each value is written before its step begins."""

    COPYING = "copying"  # the root has not changed; the target may contain a copy
    SWITCHING = "switching"  # the copy is complete; files of the root are being replaced
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class MovedCatalog:
    """The record of a move of the catalog: the attempt, its progress and its target."""

    attempt: str  # also in the target's mark (catalog/copying.py)
    state: MoveState
    url: str  # without its password, or `env:NAME` or `file:PATH`, which refer to it
    needs_password: bool  # whether a password was removed from `url`
    is_dagster_beside: bool  # Dagster's storage is in the same database
    since: str

    @property
    def is_in_use(self) -> bool:
        """True if the catalog at `url` has replaced the root's own SQLite file."""
        return self.state is not MoveState.COPYING


def read_moved_catalog(layout: StorageLayout) -> MovedCatalog | None:
    """Return the record of the catalog's move, or None if no move was begun.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = layout.moved_catalog
    try:
        return from_json(MovedCatalog, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}, which gives the catalog's location, cannot be read ({str(error).splitlines()[0]}); restore the "
            "file from a backup"
        ) from None


def write_moved_catalog(layout: StorageLayout, moved: MovedCatalog) -> None:
    """Write the record of the catalog's move, atomically."""
    write_json(layout.moved_catalog, as_json(moved))
