"""Check docker/kubernetes: the manifests against Kubernetes' schemas, all files against each other and the image."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.version import Version

from data_miner_dagster.config.loading import load_platform_config
from data_miner_dagster_tests.containers.kubernetes_files import (
    FOLDER,
    launcher_config,
    manifests,
    pod_specs,
    problems_of_restricted,
    values,
)
from data_miner_dagster_tests.containers.test_locks import PINNED

VERSIONS = ("1.31", "1.37")
SECRETS = {"data-miner-postgresql", "data-miner-databases", "data-miner-runs"}
"""The secrets that docs/deploy/kubernetes.md tells people to create."""


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests__follow_the_schemas_of_kubernetes(version: str) -> None:
    found = manifests()
    assert {manifest["kind"] for manifest in found} == {
        *("ConfigMap", "Deployment", "Job", "NetworkPolicy", "PersistentVolumeClaim", "Service"),
    }
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_schemas__find_a_mistake() -> None:
    (job,) = (manifest for manifest in manifests() if manifest["kind"] == "Job")
    job["spec"]["backofLimit"] = job["spec"].pop("backoffLimit")
    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimit"):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


def test_pods__keep_the_restricted_standard_and_have_bounds() -> None:
    pods = dict(pod_specs())
    assert pods.keys() == {"data-miner-metrics", "data-miner-review", "data-miner-migration"}
    for name, pod in pods.items():
        assert problems_of_restricted(pod) == [], name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert container["resources"]["limits"].keys() == {"memory"}, name


def test_values__every_pod_of_the_chart_keeps_the_restricted_standard_and_has_bounds() -> None:
    of_chart = values()
    (code,) = of_chart["dagster-user-deployments"]["deployments"]
    for part in (code, of_chart["dagsterWebserver"], of_chart["dagsterDaemon"]):
        container = {"name": "it", "securityContext": part["securityContext"]}
        pod = {"securityContext": part["podSecurityContext"], "volumes": part["volumes"], "containers": [container]}
        assert problems_of_restricted(pod) == []
        assert part["resources"].keys() == {"requests", "limits"}
        assert part["livenessProbe"]
        assert part["startupProbe"]["enabled"]


def test_files__name_only_what_there_is() -> None:
    settings = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))["configMapGenerator"]
    made = {"ConfigMap": {entry["name"] for entry in settings}, "Secret": SECRETS}
    for manifest in manifests():
        made.setdefault(manifest["kind"], set()).add(manifest["metadata"]["name"])
    named: dict[str, set[str]] = {"ConfigMap": set(), "Secret": set(), "PersistentVolumeClaim": set()}
    for kind, name in _references([values(), *manifests()]):
        named[kind].add(name)
    assert named == {kind: made[kind] for kind in named}


def test_secrets__are_only_named() -> None:
    assert not [manifest for manifest in manifests() if manifest["kind"] == "Secret"]
    assert "postgresqlPassword" not in str(values())
    assert values()["generatePostgresqlPasswordSecret"] is False
    (environment,) = (m for m in manifests() if m["metadata"]["name"] == "data-miner-environment")
    assert not [name for name in environment["data"] if re.search("PASSWORD|TOKEN|SECRET|URL", name)]


def test_runs__get_the_secrets_that_the_web_server_does_not() -> None:
    of_chart = values()
    assert launcher_config()["env_secrets"] == ["data-miner-databases", "data-miner-runs"]
    for name in ("dagsterWebserver", "dagsterDaemon"):
        assert of_chart[name]["envSecrets"] == [{"name": "data-miner-databases"}]


def test_values__the_settings_of_dagster_are_those_of_the_containers() -> None:
    """The chart's values contain the settings of docker/dagster.yaml, except for where runs execute."""
    of_chart = values()
    ours = yaml.safe_load((FOLDER.parent / "dagster.yaml").read_text(encoding="utf-8"))
    daemon, more = of_chart["dagsterDaemon"], of_chart["additionalInstanceConfig"]
    assert daemon["runCoordinator"]["config"]["customRunCoordinator"]["config"] == ours["run_coordinator"]["config"]
    assert more["nux"] == ours["nux"]
    assert more["concurrency"]["pools"] == ours["concurrency"]["pools"]
    limits = more["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limits == ours["concurrency"]["runs"]["tag_concurrency_limits"]
    assert daemon["runRetries"] == {"enabled": True, "maxRetries": 2, "retryOnAssetOrOpFailure": False}
    assert daemon["runRetries"]["maxRetries"] == ours["run_retries"]["max_retries"]
    assert daemon["runMonitoring"]["maxResumeRunAttempts"] == 0
    assert daemon["runMonitoring"]["pollIntervalSeconds"] == ours["run_monitoring"]["poll_interval_seconds"]
    kept = {key: days for key, days in of_chart["retention"]["sensor"]["purgeAfterDays"].items() if days > 0}
    assert kept == ours["retention"]["sensor"]["purge_after_days"]
    assert (
        of_chart["computeLogManager"]["config"]["customComputeLogManager"]["module"] == ours["compute_logs"]["module"]
    )
    (server,) = of_chart["dagsterWebserver"]["workspace"]["servers"]
    (code,) = of_chart["dagster-user-deployments"]["deployments"]
    assert (server["host"], server["port"]) == (code["name"], code["port"])
    workspace = yaml.safe_load((FOLDER.parent / "workspace.yaml").read_text(encoding="utf-8"))
    assert server["name"] == workspace["load_from"][0]["grpc_server"]["location_name"]
    assert code["includeConfigInLaunchedRuns"] == {"enabled": False}


def test_values__the_chart_is_that_of_the_dagster_which_is_installed() -> None:
    text = (FOLDER / "values.yaml").read_text(encoding="utf-8")
    page = (FOLDER.parents[1] / "docs" / "deploy" / "kubernetes.md").read_text(encoding="utf-8")
    for words in (text, page):
        assert set(re.findall(r"--version (\S+)", words)) == {PINNED["dagster"]}
    assert Version(PINNED["dagster-k8s"]).minor == Version(PINNED["dagster"]).minor + 16  # Dagster's numbering


def test_settings__are_a_platform_on_kubernetes() -> None:
    cluster = load_platform_config(FOLDER / "platform.yaml").cluster
    assert cluster.launcher == "kubernetes"
    assert cluster.pools["inference"].gpus == 1


def test_network__lets_only_the_servers_ask_the_code_server() -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "NetworkPolicy"}
    assert policies["data-miner-nobody-comes-in"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    (rule,) = policies["data-miner-code-server"]["ingress"]
    (code,) = values()["dagster-user-deployments"]["deployments"]
    assert rule["ports"] == [{"protocol": "TCP", "port": code["port"]}]
    (rule,) = policies["data-miner-pages"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": values()["dagsterWebserver"]["service"]["port"]}]
    *_, internet = policies["data-miner-runs"]["egress"]
    assert "169.254.0.0/16" in internet["to"][0]["ipBlock"]["except"]


def test_dagster_webserver__of_the_image_is_the_guarded_one(tmp_path: Path) -> None:
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    told = subprocess.run(
        [FOLDER.parent / "dagster-webserver", "-h", "0.0.0.0", "-p", "3000"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "-m data_miner_dagster.web.dagster_webserver -h 0.0.0.0 -p 3000\n"
    stages = re.split(r"(?m)^FROM \S+ AS ", (FOLDER.parent / "Dockerfile").read_text(encoding="utf-8"))
    (controller,) = (stage for stage in stages if stage.startswith("controller\n"))
    after_packages = controller[controller.index("pip install") :]
    assert "COPY docker/dagster-webserver /opt/miner/bin/dagster-webserver\n" in after_packages


def _references(node: Any) -> Iterator[tuple[str, str]]:
    """Yield the kind and name of each object that the values or manifests refer to."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "claimName":
                yield "PersistentVolumeClaim", value
            elif key in ("envConfigMaps", "envSecrets"):
                yield from (("ConfigMap" if key == "envConfigMaps" else "Secret", entry["name"]) for entry in value)
            elif key in ("configMap", "configMapRef"):
                yield "ConfigMap", value["name"]
            elif key == "secretRef":
                yield "Secret", value["name"]
            elif key == "postgresqlSecretName":
                yield "Secret", value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
