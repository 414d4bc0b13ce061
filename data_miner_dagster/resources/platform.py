"""The platform as a Dagster resource: the one that the environment names, as `data-miner up` and `run` set it."""

import dagster as dg

from data_miner_dagster.operations.logs import set_up_logging
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform


class PlatformResource(dg.ConfigurableResource[Platform]):
    """Gives assets and sensors the platform of this process."""

    def open(self) -> Platform:
        """Return the platform; cheap after the first call. Its log goes to stderr, which Dagster keeps with the run."""
        platform = open_platform()
        set_up_logging(platform.config.logging, only_if_unset=True)
        return platform
