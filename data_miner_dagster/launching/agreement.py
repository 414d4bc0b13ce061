"""Whether `platform.cluster` and dagster.yaml say the same of where runs execute."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

import dagster as dg

from data_miner_dagster.config.cluster import ClusterConfig, Launcher
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.launching.extras import RAY_IS_MISSING

_LAUNCHERS: Final[Mapping[Launcher, str]] = {"ray": "RayRunLauncher", "kubernetes": "K8sRunLauncher"}
_COORDINATOR: Final = "PooledRunCoordinator"


def check_launcher(cluster: ClusterConfig, instance: dg.DagsterInstance) -> None:
    """Check, before anything is launched, that runs go where the settings say, and say what they need there.

    Raises:
        ConfigError: they would not, or what is needed for it is missing.
    """
    ref = instance.get_ref()
    launcher = ref.run_launcher_data.class_name if ref.run_launcher_data is not None else ""
    coordinator = ref.run_coordinator_data.class_name if ref.run_coordinator_data is not None else ""
    file = f"{instance.root_directory}/dagster.yaml"
    if cluster.launcher == "local":
        for name, known in _LAUNCHERS.items():
            if launcher == known:
                raise ConfigError(
                    f"{file} launches runs by {launcher}, and platform.cluster.launcher is 'local', so that they ask "
                    f"for nothing there: write launcher: {name}, or take run_launcher out of that file"
                )
        return
    if cluster.launcher == "ray" and find_spec("dagster_ray") is None:
        raise ConfigError(RAY_IS_MISSING)
    wanted = _LAUNCHERS[cluster.launcher]
    if launcher != wanted:
        raise ConfigError(
            f"platform.cluster.launcher is {cluster.launcher!r}, and {file} launches runs by {launcher or 'default'}: "
            f"write {wanted} there (docs/deploy/{cluster.launcher}.md), or launcher: local"
        )
    if coordinator != _COORDINATOR:
        raise ConfigError(
            f"platform.cluster.launcher is {cluster.launcher!r}, and the run_coordinator of {file} is {coordinator}, "
            f"which tells no run what to ask for: write {_COORDINATOR} there (docs/deploy/{cluster.launcher}.md)"
        )
    _ = instance.run_launcher  # its own settings are looked at when it is made
