"""The command `migrate-to`: move a root's catalog and Dagster's storage from SQLite to PostgreSQL.

The command can be killed at any moment and started again. The root stays on SQLite until the copy is complete, and an
unfinished copy is recreated. The root is then switched over in repeatable steps. Between those steps, commands refuse
to use the root.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from data_miner_dagster.cli.options import ConfigOption, DryRunOption, RootOption, opened
from data_miner_dagster.cli.output import echo
from data_miner_dagster.cli.up import locked_root
from data_miner_dagster.config.environment import CATALOG_URL_VARIABLE, DAGSTER_URL_VARIABLE
from data_miner_dagster.domain.phrases import counted

_EXAMPLE: Final = "postgresql://user:password@host:5432/database"

if TYPE_CHECKING:
    from data_miner_dagster.catalog.copying import Connection
    from data_miner_dagster.history.copying import DagsterFiles
    from data_miner_dagster.operations.platform import Platform
    from data_miner_dagster.storage.moved_catalog import MovedCatalog


def migrate_to(
    url: Annotated[
        str,
        typer.Argument(help="The URL of an empty PostgreSQL database, or the env:NAME or file:PATH that stores it."),
    ],
    dry_run: DryRunOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Move the catalog and Dagster's history from SQLite to PostgreSQL. Stop `data-miner up` first.

    If the command is interrupted, run it again.
    """
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.storage.moved_catalog import MoveState, read_moved_catalog

    platform = opened(root, config)
    target = _checked_target(url)
    if not platform.layout.root.is_dir():
        raise ConfigError(f"{platform.root} is not a folder; give an existing root with --root")
    lock = locked_root(platform.layout)
    try:
        moved = read_moved_catalog(platform.layout)
        if moved is None or not moved.is_in_use:
            moved = _copy(platform, url, target, moved, dry_run=dry_run)
        elif (moved.url, moved.needs_password) != _kept_url(url):
            began = f"the move of the catalog of {platform.root} to {moved.url} began on {moved.since}"
            is_over = moved.state is MoveState.MOVED
            raise ConfigError(
                f"{began} and is complete; only SQLite catalogs can be moved"
                if is_over
                else f"{began} and was interrupted; run the command again with that URL"
            )
        if moved is None or dry_run:
            return
        _tell(moved if moved.state is MoveState.MOVED else _switched(platform, moved))
    finally:
        if lock is not None:
            os.close(lock)


def _checked_target(url: str) -> str:
    """Return `url`, resolved if it is a reference, after checking that it is valid.

    Raises:
        ConfigError: the reference cannot be resolved, or the URL is not a valid PostgreSQL URL.
    """
    from data_miner_dagster.domain.catalog_urls import problem_of_catalog_url, shown_catalog_url
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.sites.references import resolve_reference

    target = resolve_reference(url, asker="the command")
    if not target.startswith(("postgresql://", "postgresql+")):
        raise ConfigError(f"{shown_catalog_url(target)} is not a PostgreSQL URL; write {_EXAMPLE}")
    if problem := problem_of_catalog_url(target):
        what = problem.partition(";")[0]  # what follows is an example that may name SQLite
        raise ConfigError(f"the URL {shown_catalog_url(target)} is not valid: {what}; write {_EXAMPLE}")
    return target


def _kept_url(url: str) -> tuple[str, bool]:
    """Return the URL in the form that the root stores, and whether its password was removed."""
    from data_miner_dagster.catalog.copying import without_password
    from data_miner_dagster.config.downloading import is_reference

    return (url, False) if is_reference(url) else without_password(url)


# --- copying ---


def _copy(
    platform: "Platform", url: str, target: str, earlier: "MovedCatalog | None", *, dry_run: bool
) -> "MovedCatalog | None":
    """Copy the catalog and Dagster's storage; return the record of the move, now ready to switch the root over.

    `earlier` is the record of an unfinished attempt to continue, or None. With `dry_run`, only print the row counts,
    and return None.

    Raises:
        ConfigError: the catalog or Dagster's storage cannot be moved now (see `_still`), the target contains other
            data, or Dagster's storage belongs to another version of Dagster.
        CatalogError: the copy of a table lacks rows.
    """
    from data_miner_dagster.catalog.copying import (
        catalog_tables,
        copy_catalog,
        count_rows,
        create_dagster_schema,
        dagster_url_beside,
    )
    from data_miner_dagster.catalog.database import Database
    from data_miner_dagster.catalog.migrations import initialize
    from data_miner_dagster.history.copying import copy_dagster
    from data_miner_dagster.storage.moved_catalog import MovedCatalog, MoveState, write_moved_catalog

    with _still(platform) as (source, dagster):
        if dry_run:
            _tell_counts("the catalog", count_rows(source, catalog_tables()))
            _tell_counts("Dagster's storage", dagster.num_rows() if dagster is not None else {})
            return None
        kept, needs_password = _kept_url(url)
        own = os.environ.get(DAGSTER_URL_VARIABLE)
        moved = MovedCatalog(
            attempt=earlier.attempt if earlier is not None else uuid.uuid4().hex,
            state=MoveState.COPYING,
            url=kept,
            needs_password=needs_password,
            is_dagster_beside=dagster is not None and own is None,
            since=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
        write_moved_catalog(platform.layout, moved)
        database = Database(target)
        initialize(database)
        _tell_counts("the catalog", copy_catalog(source, database, attempt=moved.attempt))
        database.dispose()
        if dagster is not None:
            if own is None:
                create_dagster_schema(target)
            copied = copy_dagster(dagster, own or dagster_url_beside(target), attempt=moved.attempt)
            _tell_counts("Dagster's storage", copied)
        moved = replace(moved, state=MoveState.SWITCHING)
        write_moved_catalog(platform.layout, moved)
    platform.database.dispose()
    return moved


@contextmanager
def _still(platform: "Platform") -> "Iterator[tuple[Connection, DagsterFiles | None]]":
    """Prevent changes to the catalog and Dagster's storage while the block runs, and yield access to both.

    The yielded pair is a connection to the catalog and Dagster's locked files. The latter are None if Dagster's storage
    is already in PostgreSQL.

    Raises:
        ConfigError: the catalog is already in PostgreSQL or in use, Dagster has active runs, or the user has configured
            another storage for Dagster.
    """
    from data_miner_dagster.catalog.claims import live_claims
    from data_miner_dagster.deployment import open_instance
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.history.copying import active_run_ids, locked_dagster_files

    database = platform.database
    if database.is_postgresql:
        raise ConfigError(
            f"the catalog is already in {database.engine.url.render_as_string(hide_password=True)}; to move the one in "
            f"the root, remove platform.storage.catalog_url and unset {CATALOG_URL_VARIABLE}"
        )
    with open_instance(platform) as instance:
        home = Path(instance.root_directory)
    with database.engine.begin() as source:
        if held := [claim.resource for claim in live_claims(database)]:
            raise ConfigError(f"{held[0]} is in use; wait until all work has ended, then run the same command again")
        if _has_own_storage(home):
            yield source, None
            return
        with locked_dagster_files(home) as dagster:
            if active := active_run_ids(dagster):
                named, them = (active[0], "it") if len(active) == 1 else (f"such as {active[0]}", "them")
                raise ConfigError(
                    f"Dagster has {counted(len(active), 'active run')} ({named}); wait until no run is active, "
                    f"or start `data-miner up` (which ends runs left behind by a crash) and end {them} in the UI; "
                    "then stop `data-miner up`, and run the same command again"
                )
            yield source, dagster


def _has_own_storage(home: Path) -> bool:
    """Return whether Dagster's storage is already in PostgreSQL, and therefore stays there.

    Raises:
        ConfigError: the user has configured another storage.
    """
    import yaml

    from data_miner_dagster.deployment import DAGSTER_SETTINGS
    from data_miner_dagster.domain.errors import ConfigError

    file = home / DAGSTER_SETTINGS
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    chosen = [name for name in ("storage", "run_storage", "event_log_storage", "schedule_storage") if name in content]
    if not chosen:
        return False
    if "postgres" in (content.get("storage") or {}):
        return True
    raise ConfigError(f"{file} has a section `{chosen[0]}`; remove that section so that Dagster's storage is moved too")


# --- switching ---


def _switched(platform: "Platform", moved: "MovedCatalog") -> "MovedCatalog":
    """Switch the root over to the copy; return the updated record. Each step can be repeated."""
    from data_miner_dagster.catalog.backups import earlier_catalogs
    from data_miner_dagster.deployment import DAGSTER_SETTINGS, POSTGRES_STORAGE, dagster_home
    from data_miner_dagster.storage.atomic import atomic_path
    from data_miner_dagster.storage.layout import BEFORE_MOVE_NAME
    from data_miner_dagster.storage.moved_catalog import MoveState, write_moved_catalog

    home = dagster_home(platform.layout)
    settings, before = home / DAGSTER_SETTINGS, home / BEFORE_MOVE_NAME
    text = settings.read_text(encoding="utf-8")
    if "postgres_url" not in text:
        before.mkdir(exist_ok=True)
        with atomic_path(before / DAGSTER_SETTINGS) as partial:
            partial.write_text(text, encoding="utf-8")
        with atomic_path(settings) as partial:
            partial.write_text(text + POSTGRES_STORAGE, encoding="utf-8")
    for name in ("history", "schedules") if before.is_dir() else ():
        if (home / name).is_dir():
            (home / name).rename(before / name)
    catalog = platform.layout.catalog_file
    for file in [*sorted(catalog.parent.glob(f"{catalog.name}*")), *earlier_catalogs(catalog)]:
        platform.layout.before_move.mkdir(mode=0o700, exist_ok=True)
        file.rename(platform.layout.before_move / file.name)
    moved = replace(moved, state=MoveState.MOVED)
    write_moved_catalog(platform.layout, moved)
    return moved


# --- printing ---


def _tell_counts(what: str, num_rows: dict[str, int]) -> None:
    shown = ", ".join(f"{name} {count}" for name, count in sorted(num_rows.items()) if count)
    echo(f"{what}: {counted(sum(num_rows.values()), 'row')} in {counted(len(num_rows), 'table')}: {shown or 'none'}")


def _tell(moved: "MovedCatalog") -> None:
    echo(
        f"the catalog is in {moved.url}; the earlier SQLite files are in folders named before_postgresql, in the root "
        "and in DAGSTER_HOME; remove them once you are sure that you will not go back"
    )
    if moved.needs_password:
        echo(
            f"the URL's password is not stored; set {CATALOG_URL_VARIABLE} to the whole URL for all commands and "
            "services"
        )
    elif moved.is_dagster_beside:
        echo("all `data-miner` commands use this catalog from now on")
    echo(f"the `dagster` command also needs {DAGSTER_URL_VARIABLE}; docs/deploy/postgresql.md describes its value")
