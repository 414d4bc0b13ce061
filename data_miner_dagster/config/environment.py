"""The variables of the environment that are this package's own, and the one place that writes them.

What is written here holds for this process and for all that it starts. Belongs here: names, and writing. Does not
belong here: what a variable means (loading.py, and whoever reads it), variables that settings refer to
(interpolation.py), and those of a library, which belong where it is loaded.
"""

import os
from typing import Final

CONFIG_VARIABLE: Final = "DATA_MINER_CONFIG"
ROOT_VARIABLE: Final = "DATA_MINER_ROOT"
PROFILE_VARIABLE: Final = "DATA_MINER_PROFILE"
CATALOG_URL_VARIABLE: Final = "DATA_MINER_CATALOG_URL"
MODEL_CACHE_VARIABLE: Final = "DATA_MINER_MODEL_CACHE"
VERBOSE_VARIABLE: Final = "DATA_MINER_VERBOSE"
DEBUG_VARIABLE: Final = "DATA_MINER_DEBUG"
WEB_HOSTS_VARIABLE: Final = "DATA_MINER_WEB_HOSTS"
"""Names, with commas between."""
DAGSTER_HOME_VARIABLE: Final = "DAGSTER_HOME"
"""Dagster's, which reads it from nowhere else."""


def set_variable(name: str, value: object) -> None:
    """Let a variable hold for this process and those that it starts."""
    os.environ[name] = str(value)
