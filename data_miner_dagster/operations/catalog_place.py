"""Find a root's catalog: the database in the settings, the database that it was moved to, or SQLite under the root."""

from data_miner_dagster.config.environment import CATALOG_URL_VARIABLE
from data_miner_dagster.domain.errors import CatalogError, ConfigError
from data_miner_dagster.sites.references import resolve_reference
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.moved_catalog import MoveState, read_moved_catalog


def catalog_url_in_force(layout: StorageLayout, given: str | None) -> str | None:
    """Return the URL of a root's catalog, or None for SQLite under the root.

    Args:
        layout: the layout of the root.
        given: the URL from the settings or the environment, or None if there is none.

    Raises:
        CatalogError: a move of the catalog to another database was interrupted.
        ConfigError: the record of a move, or a reference in it, cannot be read; or the catalog was moved, and the
            settings lack its password or name an SQLite file.
    """
    moved = read_moved_catalog(layout)
    if moved is None or not moved.is_in_use:
        return given
    if moved.state is MoveState.SWITCHING:
        raise CatalogError(
            f"the move of the catalog of {layout.root} to {moved.url} was interrupted; run `data-miner migrate-to URL` "
            "again, where URL is the URL of that database"
        )
    where = f"the catalog of {layout.root} has been in {moved.url} since {moved.since}"
    if given is not None:
        if given.startswith("postgresql"):
            return given
        raise ConfigError(
            f"{where}; platform.storage.catalog_url and {CATALOG_URL_VARIABLE} must not name SQLite; set one of them "
            f"to the URL of that database{'' if moved.needs_password else ', or leave both unset'}"
        )
    if moved.needs_password:
        raise ConfigError(f"{where}, but its password is not stored; set {CATALOG_URL_VARIABLE} to the full URL")
    return resolve_reference(moved.url, asker=str(layout.moved_catalog))
