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
    """The progress of a move. The first two values are written before their steps begin, and the last at the end."""

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
    since: str  # when the attempt began, as in "2026-01-31 12:00 UTC"

    @property
    def is_in_use(self) -> bool:
        """True if the catalog at `url` has replaced the root's own SQLite file."""
        return self.state is not MoveState.COPYING


def read_moved_catalog(layout: StorageLayout) -> MovedCatalog | None:
    """Return the record of the catalog's move, or None if no move has begun.

    Raises:
        ConfigError: the file exists but is unreadable or damaged.
    """
    path = layout.moved_catalog
    try:
        return from_json(MovedCatalog, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ConfigError(
            f"{path}, which gives the catalog's location, cannot be read ({why}); check its permissions, or restore "
            "the file from your own copy of the root (`data-miner backup` does not save this file)"
        ) from None


def write_moved_catalog(layout: StorageLayout, moved: MovedCatalog) -> None:
    """Write the record of the catalog's move, atomically."""
    write_json(layout.moved_catalog, as_json(moved))
