"""Settings for where runs execute, and for the resources that one run of each pool requests."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import Field, model_validator

from data_miner_dagster.config.base import ConfigModel

Launcher = Literal["local", "ray", "kubernetes"]
PoolName = Literal["sourcing", "download", "extract", "inference", "release"]
POOL_NAMES: Final[tuple[PoolName, ...]] = get_args(PoolName)

_Name = Annotated[str, Field(min_length=1)]
_TAINT: Final = r"^(?P<key>[^=:\s]+)(?:=(?P<value>[^=:\s]*))?(?::(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?$"
_Taint = Annotated[str, Field(pattern=_TAINT)]
_RESERVED: Final = {
    "CPU": "use cpus",
    "GPU": "use gpus",
    "memory": "use memory_gb",
    "object_store_memory": "leave it out, since runs do not use Ray's object store",
}
"""The names of resources that Ray counts itself, each with what to do instead of listing it in `custom_resources`."""


class PoolConfig(ConfigModel):
    """The resources that one run of a pool requests from the cluster. A run that fits on no machine waits."""

    cpus: float = Field(default=1, gt=0)
    """The number of CPU cores. The cluster's scheduler reserves them, so a machine never gets more runs than it has
    cores for."""
    memory_gb: float | None = Field(default=None, gt=0)
    """The memory in gigabytes. null: Ray does not count it, and Kubernetes does not limit it."""
    gpus: float = Field(default=0, ge=0)
    """The number of GPUs. With Ray, a fraction below 1 lets several runs share a GPU."""
    custom_resources: Mapping[_Name, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Other resources, with the amounts to request. With Ray: names given to `ray start --resources`, such as
    `{download: 1}`. With Kubernetes: extended resources, such as `{amd.com/gpu: 1}`."""
    node_selector: Mapping[_Name, str] = Field(default_factory=dict)
    """Labels of the nodes that may execute the run. Kubernetes only; with Ray, use `custom_resources`."""
    tolerations: tuple[_Taint, ...] = ()
    """Node taints that the run tolerates, in the notation of `kubectl taint`: `team=vision:NoSchedule`, or
    `nvidia.com/gpu` for any value and effect. Kubernetes only."""


class ClusterConfig(ConfigModel):
    """The `platform.cluster` section. It determines where a run executes, and does not change its results."""

    launcher: Launcher = "local"
    """Where runs execute. `local`: on the machine of the daemon. `ray`, `kubernetes`: on the nodes of the cluster
    that dagster.yaml names."""
    pools: Mapping[PoolName, PoolConfig] = Field(default_factory=dict)
    """The resources that one run of each pool requests from the cluster. A run requests one core if it has no pool, or
    if its pool is not listed here. The launcher `local` requests nothing."""

    @model_validator(mode="after")
    def _check_amounts(self) -> Self:
        for pool, wanted in self.pools.items():
            for problem in _problems_of(wanted, self.launcher):
                raise ValueError(f"pools.{pool}.{problem}")
        return self


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of Kubernetes nodes. A `value` of None matches any value, and an `effect` of None any effect."""

    key: str
    value: str | None
    effect: str | None


def taint_of(text: str) -> Taint:
    """Return the taint that an entry of `tolerations` describes."""
    parts = re.match(_TAINT, text)
    assert parts is not None, text  # the field's pattern has checked this
    return Taint(parts["key"], parts["value"], parts["effect"])


def _problems_of(wanted: PoolConfig, launcher: Launcher) -> list[str]:
    problems = []
    amounts = {"gpus": wanted.gpus, **{f"custom_resources.{key}": n for key, n in wanted.custom_resources.items()}}
    if launcher == "ray":
        problems += [
            f"{key} is {amount:g}; Ray assigns whole numbers, or a fraction below 1: write {max(1, round(amount))}"
            for key, amount in {"cpus": wanted.cpus, **amounts}.items()
            if amount > 1 and amount != int(amount)
        ]
        problems += [
            f"custom_resources contains {name!r}, which Ray counts itself; {remedy}"
            for name, remedy in _RESERVED.items()
            if name in wanted.custom_resources
        ]
        if wanted.node_selector:
            problems.append(
                "node_selector is for Kubernetes; with Ray, give the nodes a resource (`ray start --resources`) and "
                "name it in custom_resources"
            )
        if wanted.tolerations:
            problems.append("tolerations is for Kubernetes, since Ray's nodes have no taints; leave it out")
    if launcher == "kubernetes":
        problems += [
            f"{key} is {amount:g}; Kubernetes assigns whole numbers: write {max(1, round(amount))}"
            for key, amount in amounts.items()
            if amount != int(amount)
        ]
    return problems
