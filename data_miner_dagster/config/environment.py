"""Define the names of this package's environment variables, and the only function that sets them.

A variable set here applies to this process and all its children. Belongs here: the names of variables, and setting
them. Does not belong here: the meaning of a variable (loading.py and the modules that read it), variables that settings
refer to (interpolation.py), or a library's variables, which are set where the library is loaded.
"""

import os
from typing import Final

CONFIG_VARIABLE: Final = "DATA_MINER_CONFIG"
ROOT_VARIABLE: Final = "DATA_MINER_ROOT"
PROFILE_VARIABLE: Final = "DATA_MINER_PROFILE"
CATALOG_URL_VARIABLE: Final = "DATA_MINER_CATALOG_URL"
DAGSTER_URL_VARIABLE: Final = "DATA_MINER_DAGSTER_URL"
"""The PostgreSQL URL of Dagster's own storage, which `dagster.yaml` reads."""
MODEL_CACHE_VARIABLE: Final = "DATA_MINER_MODEL_CACHE"
VERBOSE_VARIABLE: Final = "DATA_MINER_VERBOSE"
DEBUG_VARIABLE: Final = "DATA_MINER_DEBUG"
WEB_HOSTS_VARIABLE: Final = "DATA_MINER_WEB_HOSTS"
"""Host names that the web server answers to, separated by commas."""
REVIEW_PORT_VARIABLE: Final = "DATA_MINER_REVIEW_PORT"
"""The port of the review pages that `data-miner up` serves, for links to them."""
SESSION_VARIABLE: Final = "DATA_MINER_SESSION"
"""An identifier of one running `data-miner up`. All descendants of that process inherit the variable,
including those that Dagster starts every minute."""
DAGSTER_HOME_VARIABLE: Final = "DAGSTER_HOME"
"""Dagster's own variable for its home folder, the only means of setting that folder."""


def set_variable(name: str, value: object) -> None:
    """Set an environment variable for this process and its children."""
    os.environ[name] = str(value)
