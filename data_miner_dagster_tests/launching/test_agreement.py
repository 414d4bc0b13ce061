"""Tests that a platform does not start if its settings and dagster.yaml disagree."""

import sys
from collections.abc import Mapping

import dagster as dg
import pytest

from data_miner_dagster.config.cluster import ClusterConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.launching.agreement import check_launcher

RAY = ClusterConfig(launcher="ray")
LOCAL = ClusterConfig()
COORDINATOR = {"module": "data_miner_dagster.launching.coordinator", "class": "PooledRunCoordinator", "config": {}}
LAUNCHER = {"module": "data_miner_dagster.launching.ray_jobs", "class": "RayRunLauncher"}
AT_HEAD = {**LAUNCHER, "config": {"ray": {"address": "http://head:8265"}}}
NOWHERE = {**LAUNCHER, "config": {"ray": {}}}


@pytest.mark.parametrize(
    ("cluster", "settings"),
    [
        (LOCAL, {}),
        (LOCAL, {"run_coordinator": COORDINATOR}),
        (RAY, {"run_coordinator": COORDINATOR, "run_launcher": AT_HEAD}),
    ],
)
def test_check_launcher__what_agrees(cluster: ClusterConfig, settings: Mapping[str, object]) -> None:
    with dg.instance_for_test(overrides=settings) as instance:
        check_launcher(cluster, instance)


@pytest.mark.parametrize(
    ("cluster", "settings", "problem"),
    [
        (
            LOCAL,
            {"run_launcher": AT_HEAD},
            "launches runs with RayRunLauncher, but platform.cluster.launcher is 'local'",
        ),
        (
            RAY,
            {"run_coordinator": COORDINATOR},
            r"set run_launcher in that file to RayRunLauncher \(docs/deploy/ray.md\), or set platform.cluster.launcher",
        ),
        (RAY, {"run_launcher": AT_HEAD}, r"replace it with PooledRunCoordinator \(docs/deploy/ray.md\)"),
        (
            RAY,
            {"run_coordinator": COORDINATOR, "run_launcher": NOWHERE},
            "run_launcher.config.ray.address .* is missing",
        ),
    ],
)
def test_check_launcher__what_does_not_is_one_line(
    cluster: ClusterConfig, settings: Mapping[str, object], problem: str
) -> None:
    with (
        dg.instance_for_test(overrides=settings) as instance,
        pytest.raises(ConfigError, match=problem) as raised,
    ):
        check_launcher(cluster, instance)
    assert "\n" not in str(raised.value)


def test_check_launcher__without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dagster_ray", None)
    settings = {"run_coordinator": COORDINATOR, "run_launcher": AT_HEAD}
    with (
        dg.instance_for_test(overrides=settings) as instance,
        pytest.raises(ConfigError, match=r"pip install 'data-miner-dagster\[ray\]'"),
    ):
        check_launcher(RAY, instance)
