"""Where Dagster finds its instance: DAGSTER_HOME, dagster.yaml and workspace.yaml."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.atomic import atomic_path
from data_miner_dagster.storage.layout import StorageLayout

if TYPE_CHECKING:
    from dagster import DagsterInstance

_CREATION_SECONDS: Final = 120.0

_PACKAGE: Final = Path(__file__).parent


def deployment_file(name: str) -> Path:
    """Return the checkout's own file if there is a checkout, else the one installed with the package.

    Raises:
        ConfigError: neither exists.
    """
    for candidate in (_PACKAGE.parent / name, _PACKAGE / "defaults" / name):
        if candidate.is_file():
            return candidate
    raise ConfigError(f"{name} is missing from this installation; install the package again")


def prepare_dagster_home(layout: StorageLayout) -> Path:
    """Return DAGSTER_HOME, from the environment or under the root, with a dagster.yaml in it. Sets the variable.

    A dagster.yaml that is already there is left as it is: it may name a PostgreSQL server.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or layout.dagster_home).expanduser().absolute()
    settings = home / "dagster.yaml"
    if not settings.exists():
        with atomic_path(settings) as partial:
            shutil.copyfile(deployment_file("dagster.yaml"), partial)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def open_instance(platform: Platform) -> "DagsterInstance":
    """Return Dagster's instance, its databases created if they are missing; the caller closes it.

    One process at a time: on SQLite, two that create the same tables at once break each other.
    """
    from dagster import DagsterInstance

    prepare_dagster_home(platform.layout)
    with hold_claim(platform.catalog.database, "dagster_home", wait_seconds=_CREATION_SECONDS):
        return DagsterInstance.get()
