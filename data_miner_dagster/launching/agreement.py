"""Check that `platform.cluster` and dagster.yaml agree about where runs execute."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

import dagster as dg

from data_miner_dagster.config.cluster import ClusterConfig, Launcher
from data_miner_dagster.config.environment import DAGSTER_HOME_VARIABLE
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.launching.extras import KUBERNETES_IS_MISSING, RAY_IS_MISSING

_LAUNCHERS: Final[Mapping[Launcher, str]] = {"ray": "RayRunLauncher", "kubernetes": "K8sRunLauncher"}
_EXTRAS: Final[Mapping[Launcher, tuple[str, str]]] = {
    "ray": ("dagster_ray", RAY_IS_MISSING),
    "kubernetes": ("dagster_k8s", KUBERNETES_IS_MISSING),
}
_COORDINATOR: Final = "PooledRunCoordinator"


def check_launcher(cluster: ClusterConfig, instance: dg.DagsterInstance) -> None:
    """Check that Dagster launches runs where the settings say, and that runs on a cluster request resources.

    Call this before any run is launched.

    Raises:
        ConfigError: dagster.yaml contradicts the settings, its launcher has invalid settings, a required package is
            missing, or this process has no access to Kubernetes.
    """
    ref = instance.get_ref()
    launcher = ref.run_launcher_data.class_name if ref.run_launcher_data is not None else ""
    coordinator = ref.run_coordinator_data.class_name if ref.run_coordinator_data is not None else ""
    file = f"{os.environ.get(DAGSTER_HOME_VARIABLE) or instance.root_directory}/dagster.yaml"
    if cluster.launcher == "local":
        for name, known in _LAUNCHERS.items():
            if launcher == known:
                raise ConfigError(
                    f"{file} launches runs with {launcher}, but platform.cluster.launcher is 'local', so runs would "
                    f"request no resources; set platform.cluster.launcher to {name!r}, or remove "
                    "run_launcher from that file"
                )
        return
    package, is_missing = _EXTRAS[cluster.launcher]
    if find_spec(package) is None:
        raise ConfigError(is_missing)
    wanted = _LAUNCHERS[cluster.launcher]
    if launcher != wanted:
        raise ConfigError(
            f"platform.cluster.launcher is {cluster.launcher!r}, but {file} launches runs with "
            f"{launcher or 'the default launcher'}; set run_launcher in that file to {wanted} "
            f"(docs/deploy/{cluster.launcher}.md), or set platform.cluster.launcher to 'local'"
        )
    if coordinator != _COORDINATOR:
        raise ConfigError(
            f"platform.cluster.launcher is {cluster.launcher!r}, but the run_coordinator in {file} is "
            f"{coordinator or 'the default one'}, which requests no resources for runs; replace it with {_COORDINATOR} "
            f"(docs/deploy/{cluster.launcher}.md)"
        )
    with _where_kubernetes_can_be_asked(cluster.launcher, file):
        _ = instance.run_launcher  # its own settings are checked when it is created


@contextmanager
def _where_kubernetes_can_be_asked(launcher: Launcher, file: str) -> Iterator[None]:
    if launcher != "kubernetes":
        yield
        return
    from kubernetes.config import ConfigException

    try:
        yield
    except ConfigException as error:
        raise ConfigError(
            f"this process has no access to Kubernetes ({error}); start it in a pod of the cluster, or set "
            f"kubeconfig_file in run_launcher.config of {file} and set load_incluster_config to false"
        ) from error
