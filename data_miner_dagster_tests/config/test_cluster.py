"""Where runs execute: settings that are valid, and settings that are refused with a remedy."""

from pathlib import Path
from typing import get_args

import pytest

from data_miner_dagster.config.cluster import ClusterConfig, PoolName
from data_miner_dagster.config.loading import load_platform_config
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.jobs import POOL_BY_STAGE


def read(folder: Path, cluster: str) -> ClusterConfig:
    path = folder / "platform.yaml"
    path.write_text(f"platform: {{cluster: {cluster}}}\n", encoding="utf-8")
    return load_platform_config(path).cluster


def test_cluster__runs_are_local_unless_a_file_says_otherwise(tmp_path: Path) -> None:
    assert read(tmp_path, "{}") == ClusterConfig(launcher="local", pools={})


def test_cluster__pools_are_those_of_the_jobs() -> None:
    assert set(get_args(PoolName)) == set(POOL_BY_STAGE.values())


def test_cluster__asks_for_what_a_pool_needs(tmp_path: Path) -> None:
    cluster = read(
        tmp_path, "{launcher: ray, pools: {download: {custom_resources: {line: 1}}, inference: {cpus: 2, gpus: 0.5}}}"
    )
    assert [cluster.pools["inference"].cpus, cluster.pools["inference"].gpus] == [2, 0.5]
    assert [cluster.pools["download"].cpus, dict(cluster.pools["download"].custom_resources)] == [1, {"line": 1}]


@pytest.mark.parametrize(
    ("cluster", "problem"),
    [
        ("{launcher: rays}", "platform.cluster.launcher is 'rays'; did you mean 'ray'?"),
        ("{pools: {downlod: {}}}", "platform.cluster.pools.downlod is 'downlod'; did you mean 'download'?"),
        (
            "{pools: {download: {cpu: 1}}}",
            "the key 'cpu' in platform.cluster.pools.download is unknown; did you mean 'cpus'?",
        ),
        ("{pools: {download: {cpus: 0}}}", "platform.cluster.pools.download.cpus is 0; it must be greater than 0"),
        (
            "{launcher: ray, pools: {extract: {cpus: 1.5}}}",
            "platform.cluster: pools.extract.cpus is 1.5; Ray assigns whole numbers, or a fraction below 1: write 2",
        ),
        (
            "{launcher: ray, pools: {inference: {custom_resources: {GPU: 1}}}}",
            "platform.cluster: pools.inference.custom_resources contains 'GPU', which Ray counts itself; use gpus",
        ),
        (
            "{launcher: ray, pools: {inference: {node_selector: {zone: a}}}}",
            "platform.cluster: pools.inference.node_selector is for Kubernetes; with Ray, give the nodes a resource "
            "(`ray start --resources`) and name it in custom_resources",
        ),
        (
            "{launcher: kubernetes, pools: {inference: {gpus: 0.5}}}",
            "platform.cluster: pools.inference.gpus is 0.5; Kubernetes assigns whole numbers: write 1",
        ),
    ],
)
def test_cluster__bad_value_is_one_line(tmp_path: Path, cluster: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, cluster)
    assert str(raised.value) == f"{tmp_path / 'platform.yaml'}: {problem}"
