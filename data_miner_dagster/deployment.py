"""Dagster's instance and its files: DAGSTER_HOME, dagster.yaml and workspace.yaml."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.copying import dagster_url_beside
from data_miner_dagster.catalog.failures import quick_check
from data_miner_dagster.catalog.sqlite_files import commit_unhurried, use_small_pages
from data_miner_dagster.config.environment import DAGSTER_HOME_VARIABLE, DAGSTER_URL_VARIABLE, set_variable
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.atomic import atomic_path
from data_miner_dagster.storage.dagster_home import dagster_history_files
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.moved_catalog import read_moved_catalog

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from data_miner_dagster.operations.upkeep.environment import Part

_CREATION_SECONDS: Final = 120.0

DAGSTER_SETTINGS: Final = "dagster.yaml"
"""The file that makes a folder a DAGSTER_HOME."""
POSTGRES_STORAGE: Final = f"""
# `data-miner migrate-to` has moved Dagster's own storage to PostgreSQL. The `data-miner` commands set this variable
# themselves. The `dagster` commands need it in the environment: docs/deploy/postgresql.md
storage:
  postgres:
    postgres_url: {{env: {DAGSTER_URL_VARIABLE}}}
"""
_EARLIER_SETTINGS: Final = frozenset(
    {
        "2fc86a01f00fc2f650e9562adb7d5ebd34d120ecacdceff115b40e048cc91160",
        "3d315a6002fc4f8ef0c68274cdbf536319b03b2b206a9beac8034743773fab07",
        "446e4c85fc8c15f934ed92ddc41a1893109532579f1931d7368c4811713f3a03",
        "453127440c9551a44deb371de49d4118e8b3e9ac2f9aab4cc43b1be523c5524d",
        "b5f10ab1224a6d73e97cf82a67a41175042cb04ab4fe35fbac0bb635eddca9b7",
        "d1160c6b12f82da0e834dee9f2c03fc4077ff20bb30f4fc4427beee3794dbbb4",
    }
)
"""The sha256 of the dagster.yaml of each earlier version."""
_WRITABLE: Final = "let this user write there, or set DAGSTER_HOME to another folder"
_PACKAGE: Final = Path(__file__).parent


def deployment_file(name: str) -> Path:
    """Return the path of the default file `name`: in the source checkout if it exists there, else in the package.

    Raises:
        ConfigError: neither file exists.
    """
    for candidate in (_PACKAGE.parent / name, _PACKAGE / "defaults" / name):
        if candidate.is_file():
            return candidate
    raise ConfigError(f"{name} is missing from this installation; install the package again")


def dagster_home(layout: StorageLayout) -> Path:
    """Return the folder of Dagster's instance: DAGSTER_HOME from the environment, else a folder under the root."""
    return Path(os.environ.get(DAGSTER_HOME_VARIABLE) or layout.dagster_home).expanduser().absolute()


def standing_dagster_home(layout: StorageLayout) -> Path | None:
    """Return the folder of Dagster's instance, or None if it has no dagster.yaml yet. Nothing is created."""
    home = dagster_home(layout)
    return home if (home / DAGSTER_SETTINGS).exists() else None


def prepare_dagster_home(layout: StorageLayout) -> Path:
    """Ensure that the folder of Dagster's instance has a dagster.yaml, and return the folder.

    An existing dagster.yaml is kept, since it may name a PostgreSQL server. A truncated copy of the default file is
    replaced, as is an unchanged copy from an earlier version. If the catalog was moved to PostgreSQL, the new file uses
    PostgreSQL, too.

    Raises:
        ConfigError: Dagster would misread the folder's path and store its history elsewhere, the default dagster.yaml
            is missing from this installation, or the record of the catalog's move is unreadable.
        OSError: the folder or the file cannot be read or written.
    """
    home = dagster_home(layout)
    settings = home / DAGSTER_SETTINGS
    if not _is_found_by_dagster(home) and not (
        settings.exists() and "postgres" in settings.read_text(encoding="utf-8", errors="replace")
    ):
        raise ConfigError(
            f"Dagster cannot store its history in {home}, since it misreads a path with `?`, or with `%` before two "
            "hexadecimal digits; set DAGSTER_HOME to another folder, or, if the variable is unset, use another --root"
        )
    if not settings.exists() or _is_half_copied(settings) or sha256_of_file(settings) in _EARLIER_SETTINGS:
        moved = read_moved_catalog(layout)
        with atomic_path(settings) as partial:
            shutil.copyfile(deployment_file(DAGSTER_SETTINGS), partial)
            if moved is not None and moved.is_in_use:
                partial.write_text(partial.read_text(encoding="utf-8") + POSTGRES_STORAGE, encoding="utf-8")
    return home


def name_dagster_storage(platform: Platform) -> None:
    """Set the environment variable that locates Dagster's storage, if the storage was moved with the catalog.

    The variable is set for this process and its children. An existing value is kept.
    """
    moved = read_moved_catalog(platform.layout)
    if moved is None or not moved.is_in_use or not moved.is_dagster_beside or os.environ.get(DAGSTER_URL_VARIABLE):
        return
    if platform.catalog_url is not None:
        set_variable(DAGSTER_URL_VARIABLE, dagster_url_beside(platform.catalog_url))


def _is_found_by_dagster(home: Path) -> bool:
    """Return whether the database URL that Dagster builds from a path leads back to that path."""
    return "?" not in str(home) and unquote(str(home)) == str(home)


def _is_half_copied(settings: Path) -> bool:
    """Return whether a dagster.yaml is a truncated copy of the default file, which is never intended."""
    ours, theirs = deployment_file(DAGSTER_SETTINGS).read_bytes(), settings.read_bytes()
    return len(theirs) < len(ours) and ours.startswith(theirs)


def existing_instance(home: Path) -> "DagsterInstance":
    """Return the Dagster instance in the folder `home`. The caller has to close it.

    DAGSTER_HOME is set for this process and its children. An empty `index.db` is removed, so that Dagster creates it
    again.

    Raises:
        ConfigError: the settings or one of the databases cannot be used. The message names the file.
    """
    from dagster import DagsterInstance

    set_variable(DAGSTER_HOME_VARIABLE, home)
    use_light_files(home)
    _, index, _ = dagster_history_files(home)
    if index.is_file() and not index.stat().st_size and not index.with_name("index.db-wal").exists():
        index.unlink()  # Dagster creates its tables in a missing file, but not in an empty one
    try:
        return DagsterInstance.get()
    except Exception as error:
        # Damaged settings or databases can make Dagster raise any kind of error.
        raise ConfigError(damage_of_home(home) or _settings_line(home, error)) from error


def use_light_files(home: Path) -> None:
    """Make this process create small SQLite files for runs, and commit to Dagster's storage without awaiting the disk.

    Dagster's storage has a file for each run, with two dozen mostly empty tables. The run's events are also in the
    index. If a power failure loses some of this history, no work is lost or requested again.
    """
    use_small_pages(home / "history" / "runs")
    commit_unhurried(home)


def damage_of_home(home: Path) -> str | None:
    """Return one line about the first damaged database in Dagster's own storage, or None if all are intact.

    The line ends with a semicolon and the remedy.
    """
    shared = dagster_history_files(home)
    of_runs = (path for path in sorted(shared[1].parent.glob("*.db")) if path not in shared)
    for path in (*shared, *of_runs):
        if path.is_file() and (why := quick_check(path)):
            return (
                f"{path} is damaged ({why}); restore the file from a backup, or remove it so that Dagster creates a "
                "new one (this loses the history of earlier runs, but no work)"
            )
    return None


def _settings_line(home: Path, error: Exception) -> str:
    why = (" ".join(str(error).split()) or type(error).__name__)[:200]
    return (
        f"Dagster cannot be started with {home / DAGSTER_SETTINGS} ({why}); start the database server that the file "
        "names, correct the file, or remove it so that the default file is written again"
    )


def open_instance(platform: Platform) -> "DagsterInstance":
    """Return Dagster's instance, and create its databases if they are missing. The caller has to close the instance.

    Only one process does this at a time, because two processes must not create the same SQLite tables concurrently.

    Raises:
        ConfigError: the folder, Dagster's settings or one of its databases cannot be used.
        ClaimHeldError: another process takes longer than 120 s to create the databases.
    """
    home = prepare_dagster_home(platform.layout)
    name_dagster_storage(platform)
    with hold_claim(platform.database, "dagster_home", wait_seconds=_CREATION_SECONDS):
        return existing_instance(home)


def home_part(layout: StorageLayout) -> "Part":
    """Return the state of Dagster's instance folder, for `data-miner doctor --environment`. Nothing is created."""
    from data_miner_dagster.operations.upkeep.environment import Part, State

    home = dagster_home(layout)
    named = " (DAGSTER_HOME)" if os.environ.get(DAGSTER_HOME_VARIABLE) else ""
    if not _is_found_by_dagster(home):
        remedy = "set DAGSTER_HOME to a folder without `?`, and without `%` before two hexadecimal digits"
        return Part("DAGSTER_HOME", State.PROBLEM, f"Dagster would misread the path {home}{named}", remedy)
    if not (home / DAGSTER_SETTINGS).exists():
        if home.exists() and not os.access(home, os.W_OK):
            return Part("DAGSTER_HOME", State.PROBLEM, f"{home}{named} cannot be written to", _WRITABLE)
        return Part("DAGSTER_HOME", State.OK, f"{home}{named} has no dagster.yaml yet; the first use creates it")
    if damage := damage_of_home(home):
        what, _, remedy = damage.rpartition("; ")
        return Part("DAGSTER_HOME", State.PROBLEM, what, remedy)
    if not os.access(home, os.W_OK):
        return Part("DAGSTER_HOME", State.PROBLEM, f"{home}{named} cannot be written to", _WRITABLE)
    return Part("DAGSTER_HOME", State.OK, f"{home}{named}")


def launcher_part(platform: Platform) -> "Part | None":
    """Return the state of the launcher, for `data-miner doctor --environment`, or None if there is nothing to check.

    There is nothing to check if the settings name no cluster, or if Dagster's instance does not exist yet. The state is
    a problem if Dagster's settings or databases cannot be used or contradict `platform.cluster`, or if a required
    package or the access to Kubernetes is missing.
    """
    from data_miner_dagster.launching.agreement import check_launcher
    from data_miner_dagster.operations.upkeep.environment import Part, State

    cluster, home = platform.config.cluster, standing_dagster_home(platform.layout)
    if cluster.launcher == "local" or home is None:
        return None
    name_dagster_storage(platform)
    try:
        with existing_instance(home) as instance:
            check_launcher(cluster, instance)
    except ConfigError as error:
        what, _, remedy = str(error).rpartition("; ")
        return Part("launcher", State.PROBLEM, what, remedy)
    return Part("launcher", State.OK, f"{cluster.launcher}, as {home / DAGSTER_SETTINGS} says")
