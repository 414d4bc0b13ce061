"""The platform as a Dagster resource, configured by the environment variables that `data-miner up` and `run` set."""

import dagster as dg

from data_miner_dagster.operations.logs import set_up_logging
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform


class PlatformResource(dg.ConfigurableResource[Platform]):
    """Provides assets and sensors with the platform of this process."""

    def open(self) -> Platform:
        """Return the platform; cheap after the first call. It logs to stderr, which Dagster stores with the run."""
        platform = open_platform()
        set_up_logging(platform.config.logging, only_if_unset=True)
        return platform
