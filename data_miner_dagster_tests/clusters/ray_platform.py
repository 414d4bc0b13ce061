"""`data-miner up` whose runs are executed by the nodes of a Ray cluster, over one root and one PostgreSQL server."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from data_miner_dagster.storage.changing_folders import paths_below
from data_miner_dagster_tests.clusters.ray_nodes import RayCluster
from data_miner_dagster_tests.end_to_end.commands import CHECKOUT, environment, write_yaml
from data_miner_dagster_tests.kills.platform import KilledPlatform
from data_miner_dagster_tests.kills.postgres import OwnPostgres

POOLS: Final = {
    "download": {"custom_resources": {"download": 1}},
    "extract": {"custom_resources": {"cpu": 1}},
    "inference": {"gpus": 1, "memory_gb": 1},
}
"""The resources that runs request, by pool, as in `platform.cluster`."""
_MONITORING_SECONDS: Final = 1
"""Shorter than the usual 30 s, so that tests wait less."""


def secrets_of(postgres: OwnPostgres) -> dict[str, str]:
    """Return the secret variables in each node's environment, which no launcher may pass on."""
    return {"DATA_MINER_CATALOG_URL": postgres.catalog_url, "DATA_MINER_DAGSTER_URL": postgres.dagster_url}


def documented_settings() -> dict[str, Any]:
    """Return what docs/deploy/ray.md tells people to write into dagster.yaml."""
    page = (CHECKOUT / "docs" / "deploy" / "ray.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```yaml\n# dagster\.yaml\n(.*?)```", page, re.DOTALL)
    return dict(yaml.safe_load(snippet))


@dataclass(slots=True)
class RayPlatform(KilledPlatform):
    """A platform whose runs are executed by the nodes of a Ray cluster."""

    cluster: RayCluster | None = None
    num_sharing: int = 1  # the number of runs that share one project's detection

    def prepare(self, *, is_waiting: bool = False) -> None:
        """Write the settings and the project file, with the settings from docs/deploy/ray.md in dagster.yaml."""
        assert self.cluster is not None
        # called by class name: in a dataclass with slots, super() without arguments refers to the class it replaced
        KilledPlatform.prepare(self, is_waiting=True)
        settings = yaml.safe_load((self.folder / "platform.yaml").read_text())
        settings["platform"]["cluster"] = {"launcher": "ray", "pools": POOLS}
        write_yaml(self.folder / "platform.yaml", settings)
        dagster = yaml.safe_load((self.home / "dagster.yaml").read_text()) | documented_settings()
        for name in ("compute_logs", "local_artifact_storage"):  # these are in a volume of the containers
            del dagster[name]
        dagster["run_launcher"]["config"]["ray"]["address"] = self.cluster.address
        dagster["run_monitoring"]["poll_interval_seconds"] = _MONITORING_SECONDS
        write_yaml(self.home / "dagster.yaml", dagster)
        if not is_waiting:
            self.drop_project()

    def let_share(self) -> None:
        """Give the pool `inference` one slot for each run that is to share a project's work."""
        limit = f'setConcurrencyLimit(concurrencyKey: "inference", limit: {self.num_sharing})'
        self.graphql(f"mutation {{ {limit} }}")

    def tags(self) -> dict[str, dict[str, str]]:
        """Return the tags of all runs: {run id: {key: value}}."""
        found = self.graphql("{ runsOrError { ... on Runs { results { runId tags { key value } } } } }")
        return {
            run["runId"]: {tag["key"]: tag["value"] for tag in run["tags"]} for run in found["runsOrError"]["results"]
        }

    def said(self, run_id: str) -> list[str]:
        """Return the messages of a run's events."""
        events = "... on EventConnection { events { ... on MessageEvent { message } } }"
        found = self.graphql(f'{{ logsForRun(runId: "{run_id}") {{ {events} }} }}')
        return [str(event.get("message")) for event in found["logsForRun"]["events"]]


def new_cluster(postgres: OwnPostgres) -> RayCluster:
    """Return a cluster, not yet started, whose nodes have the URLs of this server's databases."""
    return RayCluster(environment(**secrets_of(postgres)))


def made_files(root: Path) -> dict[Path, int]:
    """Return the finished files under a root, with the time (ns) at which each was written."""
    patterns = ("videos/*/info.json", "frames/*/frames.parquet", "embeddings/*/*.npz", "**/*.boxes.parquet")
    found: dict[Path, int] = {}
    for pattern in patterns:
        for path in paths_below(root, pattern):
            try:
                found[path] = path.stat().st_mtime_ns
            except FileNotFoundError:  # removed since
                continue
    return found
