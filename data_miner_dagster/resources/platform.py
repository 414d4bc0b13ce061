"""The platform as a Dagster resource, configured by the environment that `data-miner up` and `run` set."""

import os
from functools import lru_cache
from pathlib import Path

import dagster as dg

from data_miner_dagster.config.loading import load_platform_config, resolve_root
from data_miner_dagster.operations.platform import Platform


@lru_cache(maxsize=4)
def _open(root: str | None, config_file: str | None, profile: str | None, catalog_url: str | None) -> Platform:
    config = load_platform_config(Path(config_file) if config_file else None)
    return Platform.open(config, resolve_root(root, config), catalog_url=catalog_url, profile=profile)


def open_platform() -> Platform:
    """Return the platform that the environment names, one object a process, so that models load once.

    DATA_MINER_ROOT, DATA_MINER_CONFIG (a YAML file with a `platform` section), DATA_MINER_PROFILE and
    DATA_MINER_CATALOG_URL; all optional.
    """
    environment = os.environ.get
    return _open(
        environment("DATA_MINER_ROOT"),
        environment("DATA_MINER_CONFIG"),
        environment("DATA_MINER_PROFILE"),
        environment("DATA_MINER_CATALOG_URL"),
    )


class PlatformResource(dg.ConfigurableResource[Platform]):
    """Gives assets and sensors the platform of this process."""

    def open(self) -> Platform:
        """Return the platform; cheap after the first call."""
        return open_platform()
