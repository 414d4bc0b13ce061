"""Read the files in docker/kubernetes, and the launcher settings that Dagster's chart generates from its values."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
NAMESPACE = "data-miner"


def values() -> dict[str, Any]:
    """Return the values for Dagster's chart."""
    return dict(yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8")))


def manifests() -> list[dict[str, Any]]:
    """Return the manifests beside the chart, as `kubectl apply -k` takes them, without the settings' ConfigMap."""
    found = []
    for kustomization in (FOLDER / "kustomization.yaml", FOLDER / "migration" / "kustomization.yaml"):
        for name in yaml.safe_load(kustomization.read_text(encoding="utf-8"))["resources"]:
            found += list(yaml.safe_load_all((kustomization.parent / name).read_text(encoding="utf-8")))
    return found


def pod_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and pod specification of each manifest that has one."""
    for manifest in manifests():
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def launcher_config() -> dict[str, Any]:
    """Return `run_launcher.config` of the dagster.yaml that the chart writes from our values.

    This imitates the chart's template `dagsterYaml.runLauncher.k8s`; its output for these values was compared by hand.
    """
    of_chart = values()
    launcher = of_chart["runLauncher"]["config"]["k8sRunLauncher"]
    pod = launcher["runK8sConfig"]
    return {
        "load_incluster_config": launcher["loadInclusterConfig"],
        "job_namespace": NAMESPACE,
        "image_pull_policy": launcher["imagePullPolicy"],
        "service_account_name": "dagster",
        "dagster_home": of_chart["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": of_chart["global"]["postgresqlSecretName"],
        "env_config_maps": [entry["name"] for entry in launcher["envConfigMaps"]],
        "env_secrets": [entry["name"] for entry in launcher["envSecrets"]],
        "volume_mounts": launcher["volumeMounts"],
        "volumes": launcher["volumes"],
        "labels": launcher["labels"],
        "security_context": launcher["securityContext"],
        "run_k8s_config": {"pod_spec_config": pod["podSpecConfig"], "job_spec_config": pod["jobSpecConfig"]},
    }


def problems_of_restricted(pod: Mapping[str, Any]) -> list[str]:
    """Return a pod's violations of Kubernetes' `restricted` standard, limited to rules that these pods could break."""
    found = []
    whole = pod.get("securityContext") or {}
    if whole.get("runAsNonRoot") is not True or whole.get("runAsUser") == 0:
        found.append("may run as root")
    if (whole.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        found.append("has no seccomp profile")
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            found.append(f"has {name}")
    for volume in pod.get("volumes", ()):
        if not volume.keys() & {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}:
            found.append(f"volume {volume['name']} is of a kind that is not allowed")
    return found + [problem for container in pod["containers"] for problem in _problems_of_container(container)]


def _problems_of_container(container: Mapping[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{container['name']} may gain privileges"
    if (own.get("capabilities") or {}) != {"drop": ["ALL"]}:
        yield f"{container['name']} has capabilities"
    if own.get("privileged"):
        yield f"{container['name']} is privileged"
