"""The platform that the environment names: what every process of one installation agrees upon."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from data_miner_dagster.config.loading import CONFIG_VARIABLE, ROOT_VARIABLE, load_platform_config, resolve_root
from data_miner_dagster.operations.platform import Platform

PROFILE_VARIABLE: Final = "DATA_MINER_PROFILE"


def open_platform() -> Platform:
    """Return the platform that the environment names, one object a process, so that models load once.

    DATA_MINER_ROOT, DATA_MINER_CONFIG (a YAML file with a `platform` section), DATA_MINER_PROFILE and
    DATA_MINER_CATALOG_URL; all optional.

    Raises:
        ConfigError: the file that DATA_MINER_CONFIG names is wrong.
    """
    environment = os.environ.get
    return _open(environment(ROOT_VARIABLE), environment(CONFIG_VARIABLE), environment(PROFILE_VARIABLE), Path.cwd())


@lru_cache(maxsize=4)
def _open(root: str | None, config_file: str | None, profile: str | None, _working_folder: Path) -> Platform:
    config = load_platform_config(Path(config_file) if config_file else None)
    return Platform.open(config, resolve_root(root, config), profile=profile)
