"""Recognize unexpected errors that were caused by a damaged database. Such errors can surface anywhere."""

import sys
import traceback


def damage_behind(error: Exception) -> str | None:
    """Return one line about the damaged database that caused an error, or None if the error has no such cause.

    The databases are checked only if the traceback passes through SQLAlchemy, so that a bug in this program is not
    mistaken for damage. A PostgreSQL catalog is not checked.
    """
    modules = {
        str(frame.f_globals.get("__name__", "")).partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
    }
    if "sqlalchemy" not in modules or "data_miner_dagster.operations.opening" not in sys.modules:
        return None
    from data_miner_dagster.catalog.failures import damaged_catalog, quick_check
    from data_miner_dagster.deployment import dagster_home, damage_of_home
    from data_miner_dagster.operations.opening import open_platform

    layout = open_platform().layout
    if why := quick_check(layout.catalog_file):
        return str(damaged_catalog(layout.catalog_file, why))
    if line := damage_of_home(dagster_home(layout)):
        return line
    # the catalog contains an invalid word or date, or lacks a table
    is_suspicious = isinstance(error, LookupError | TypeError | ValueError) or "no such table" in str(error)
    if is_suspicious and layout.catalog_file.is_file():
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        return str(damaged_catalog(layout.catalog_file, why))
    return None
