"""Tests the tags with which a run requests resources from each launcher."""

import json

import pytest

from data_miner_dagster.config.cluster import ClusterConfig
from data_miner_dagster.launching.tags import run_tags, tags_of_pools

POOLS = {
    "download": {"cpus": 1, "memory_gb": 1, "custom_resources": {"line": 1}},
    "extract": {"cpus": 4, "memory_gb": 2.5},
    "inference": {"cpus": 2, "memory_gb": 8, "gpus": 1},
}


def cluster(launcher: str, **pools: object) -> ClusterConfig:
    return ClusterConfig.model_validate({"launcher": launcher, "pools": pools or POOLS})


@pytest.mark.parametrize("pool", ["download", "inference", None])
def test_run_tags__on_this_machine_there_are_none(pool: str | None) -> None:
    assert run_tags(cluster("local"), pool) == {}


@pytest.mark.parametrize(
    ("pool", "asked", "said"),
    [
        ("download", {"num_cpus": 1, "memory": 1_000_000_000, "resources": {"line": 1}}, "1 CPU, 1 GB, 1 line"),
        ("extract", {"num_cpus": 4, "memory": 2_500_000_000}, "4 CPU, 2.5 GB"),
        ("inference", {"num_cpus": 2, "memory": 8_000_000_000, "num_gpus": 1}, "2 CPU, 1 GPU, 8 GB"),
        ("release", {"num_cpus": 1}, "1 CPU"),
        (None, {"num_cpus": 1}, "1 CPU"),
    ],
)
def test_run_tags__for_ray(pool: str | None, asked: dict[str, object], said: str) -> None:
    tags = run_tags(cluster("ray"), pool)
    assert json.loads(tags.pop("dagster-ray/config")) == asked
    assert tags == {"data_miner/asks_for": said}


def test_run_tags__for_kubernetes() -> None:
    wanted = {"cpus": 0.5, "memory_gb": 8, "gpus": 1, "node_selector": {"zone": "a"}}
    tags = run_tags(cluster("kubernetes", inference=wanted), "inference")
    assert json.loads(tags["dagster-k8s/config"]) == {
        "container_config": {
            "resources": {
                "requests": {"cpu": "0.5", "memory": "8000000000", "nvidia.com/gpu": "1"},
                "limits": {"memory": "8000000000", "nvidia.com/gpu": "1"},
            }
        },
        "pod_spec_config": {"node_selector": {"zone": "a"}},
    }


def test_tags_of_pools__a_run_of_several_gets_the_most_of_each() -> None:
    tags = tags_of_pools(cluster("ray"), {"download", "extract", "inference"})
    assert json.loads(tags["dagster-ray/config"]) == {
        "num_cpus": 4,
        "memory": 8_000_000_000,
        "num_gpus": 1,
        "resources": {"line": 1},
    }
