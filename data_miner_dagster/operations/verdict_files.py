"""Import people's verdicts into the catalog from files of earlier versions.

Does not belong here: verdicts in the catalog (catalog/verdicts.py).
"""

import logging

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.verdicts import read_verdict_file

logger = logging.getLogger(__name__)


def adopt_verdict_file(database: Database, layout: StorageLayout, project: str) -> None:
    """Import a project's file of verdicts into the catalog, if there is one, and then rename the file.

    If the call is interrupted and repeated, each verdict is still imported only once.

    Raises:
        ConfigError: the file is not valid, or one of its lines is not a verdict. The file stays in place.
        OSError: the file cannot be read or renamed.
    """
    path = layout.frame_verdicts(project)
    if path.is_file():
        add_verdicts(database, project, read_verdict_file(path))
        path.replace(layout.adopted_verdicts(project))


def adopt_verdict_files(database: Database, layout: StorageLayout) -> None:
    """Import the verdict files of all projects. An invalid file stays in place, and a warning in the log names it."""
    for project in layout.all_frame_verdicts():
        try:
            adopt_verdict_file(database, layout, project)
        except (ConfigError, OSError) as error:  # of this project alone
            logger.warning("the earlier verdicts of project %s were not imported: %s", project, error)
