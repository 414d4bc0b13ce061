"""Convert the resources that a run requests to the tags that launchers read.

Belongs here: converting `platform.cluster` to tags. Does not belong here: adding the tags to runs (coordinator.py).
"""

import json
from collections.abc import Collection, Mapping
from typing import Final

from data_miner_dagster.config.cluster import ClusterConfig, PoolConfig, taint_of

RAY_TAG: Final = "dagster-ray/config"
KUBERNETES_TAG: Final = "dagster-k8s/config"
ASKED_TAG: Final = "data_miner/asks_for"
"""Marks a run whose tags come from this module. The value is a readable description of the resources."""

REFUSED_TAG: Final = "data_miner/not_launched"
"""Marks a run that a cluster has not accepted. The value is the reason."""

_GB: Final = 1000**3


def run_tags(cluster: ClusterConfig, pool: str | None) -> dict[str, str]:
    """Return the resource tags for a run in one pool, or in no pool if `pool` is None. A local run has no tags."""
    return tags_of_pools(cluster, () if pool is None else (pool,))


def tags_of_pools(cluster: ClusterConfig, pools: Collection[str]) -> dict[str, str]:
    """Return the resource tags for a run in several pools, with the largest amount of each resource among the pools.

    A pool that is missing from `platform.cluster.pools`, and a run without pools, request the defaults of `PoolConfig`.
    Node selectors and tolerations are combined; if two selectors contradict each other, the pool whose name sorts last
    decides. The result is empty if runs are executed locally.
    """
    if cluster.launcher == "local":
        return {}
    wanted = _most({str(pool): asked for pool, asked in cluster.pools.items()}, pools)
    if cluster.launcher == "ray":
        return {RAY_TAG: _json(_for_ray(wanted)), ASKED_TAG: describe(wanted)}
    return {KUBERNETES_TAG: _json(_for_kubernetes(wanted)), ASKED_TAG: describe(wanted)}


def describe(wanted: PoolConfig) -> str:
    """Return the requested resources and node labels as one human-readable line. Tolerations are omitted."""
    of_ray = {"CPU": wanted.cpus, "GPU": wanted.gpus, "memory": (wanted.memory_gb or 0) * _GB}
    labels = [f"{name}={value}" for name, value in sorted(wanted.node_selector.items())]
    return ", ".join([amounts({**of_ray, **wanted.custom_resources}), *labels])


def amounts(resources: Mapping[str, float], *, of: Collection[str] | None = None) -> str:
    """Return amounts of resources as one human-readable line, omitting amounts of zero.

    The keys of `resources` are Ray's names; `memory` is in bytes. Only names in `of` are shown, or all if `of` is None.
    """
    shown = {name: n for name, n in resources.items() if n and (of is None or name in of)}
    first = [name for name in ("CPU", "GPU", "memory") if name in shown]
    ordered = [*first, *sorted(shown.keys() - set(first))]
    return ", ".join(
        f"{shown[name] / _GB:.3g} GB" if name == "memory" else f"{shown[name]:g} {name}" for name in ordered
    )


def _most(asked: Mapping[str, PoolConfig], pools: Collection[str]) -> PoolConfig:
    wanted = [asked.get(pool, PoolConfig()) for pool in sorted(pools)] or [PoolConfig()]
    memory = [pool.memory_gb for pool in wanted if pool.memory_gb is not None]
    custom: dict[str, float] = {}
    selector: dict[str, str] = {}
    for pool in wanted:
        custom |= {name: max(amount, custom.get(name, 0)) for name, amount in pool.custom_resources.items()}
        selector |= pool.node_selector
    tolerations = {entry: None for pool in wanted for entry in pool.tolerations}
    return PoolConfig(
        cpus=max(pool.cpus for pool in wanted),
        memory_gb=max(memory, default=None),
        gpus=max(pool.gpus for pool in wanted),
        custom_resources=custom,
        node_selector=selector,
        tolerations=tuple(tolerations),
    )


def _for_ray(wanted: PoolConfig) -> dict[str, object]:
    asked: dict[str, object] = {"num_cpus": wanted.cpus}
    if wanted.memory_gb is not None:
        asked["memory"] = round(wanted.memory_gb * _GB)
    if wanted.gpus:
        asked["num_gpus"] = wanted.gpus
    if wanted.custom_resources:
        asked["resources"] = dict(wanted.custom_resources)
    return asked


def _for_kubernetes(wanted: PoolConfig) -> dict[str, object]:
    whole = {"nvidia.com/gpu": wanted.gpus} if wanted.gpus else {}
    extended = {name: str(int(amount)) for name, amount in {**whole, **wanted.custom_resources}.items()}
    memory = {} if wanted.memory_gb is None else {"memory": str(round(wanted.memory_gb * _GB))}
    requests = {"cpu": f"{wanted.cpus:g}", **memory, **extended}
    asked: dict[str, object] = {"container_config": {"resources": {"requests": requests, "limits": memory | extended}}}
    pod: dict[str, object] = {}
    if wanted.node_selector:
        pod["node_selector"] = dict(wanted.node_selector)
    if wanted.tolerations:
        pod["tolerations"] = [_toleration(entry) for entry in wanted.tolerations]
    return {**asked, "pod_spec_config": pod} if pod else asked


def _toleration(entry: str) -> dict[str, str]:
    taint = taint_of(entry)
    which = {"operator": "Exists"} if taint.value is None else {"operator": "Equal", "value": taint.value}
    return {"key": taint.key, **which, **({} if taint.effect is None else {"effect": taint.effect})}


def _json(content: object) -> str:
    return json.dumps(content, sort_keys=True)
