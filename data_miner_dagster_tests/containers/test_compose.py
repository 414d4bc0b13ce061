"""Check docker/docker-compose.yaml and the Dockerfile against their specifications and intended guarantees."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
FILES = ("docker-compose.yaml", "docker-compose.runs.yaml")
OURS = ("migrate", "code", "code-gpu", "webserver", "daemon", "review", "metrics")
SERVICES = {*OURS, "postgres", "backup", "prometheus", "loki", "alloy", "grafana"}


def interpolated(text: str) -> str:
    """Return a compose file as the engine's client reads it if no variable is set."""
    text = re.sub(r"\$\{\w+:-((?:[^{}]|\$\{\w+\})*)\}", r"\1", text)
    return re.sub(r"\$\{\w+(?::\?[^}]*)?\}", "1", text)


def composed(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return dict(composed(FILES[0])["services"])


@pytest.mark.parametrize("name", FILES)
def test_compose__follows_the_specification(name: str) -> None:
    text = interpolated((DOCKER / name).read_text(encoding="utf-8"))
    assert "${" not in text
    assert len(compose_spec.PyCompose.from_json(json.dumps(yaml.safe_load(text)))) > 1


def test_specification__finds_a_mistake() -> None:
    text = interpolated((DOCKER / FILES[0]).read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="intervall"):
        compose_spec.PyCompose.from_json(
            json.dumps(yaml.safe_load(text.replace("start_interval:", "start_intervall:")))
        )


def test_dockerfile__its_linter_finds_nothing() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    found = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_dockerfile__every_image_is_of_a_user_and_takes_only_what_is_locked() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    stages = {stage.split()[0]: stage for stage in re.split(r"(?m)^FROM \S+ AS ", text)[1:]}
    assert all("\nUSER 1000\n" in stages[name] for name in ("controller", "cpu", "cuda"))
    assert not re.search(r"(?i)^(ARG|ENV) .*(TOKEN|PASSWORD|SECRET)", text, re.M)
    installs = re.findall(r"pip install ([^\n&]*)", text)
    assert len(installs) == 8
    assert all("--require-hashes" in line or line.endswith("/wheels/*.whl") for line in installs)


def test_dockerignore__lets_in_what_is_named_and_nothing_else() -> None:
    lines = (DOCKER.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        word
        for line in re.findall(r"(?m)^COPY ((?!--from).+)$", (DOCKER / "Dockerfile").read_text(encoding="utf-8"))
        for word in line.split()[:-1]
    }
    assert copied == let_in
    assert all(list(DOCKER.parent.glob(path)) for path in let_in)


def test_services__are_bounded_and_have_no_rights_to_spare(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == SERVICES
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["init"], name
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name
        assert service["mem_limit"], name
        assert not service.get("privileged"), name
    assert {name for name, service in services.items() if service.get("cap_add")} == {"postgres", "backup", "alloy"}


def test_services__have_bounds_of_cpu_that_every_machine_can_keep(services: dict[str, dict[str, Any]]) -> None:
    read = yaml.safe_load(interpolated((DOCKER / FILES[0]).read_text(encoding="utf-8")))["services"]
    for name, service in services.items():
        if name in ("code", "code-gpu"):
            assert (service["cpus"], service["cpu_shares"]) == ("${CODE_CPUS:-0.0}", 512), name
        else:
            assert 0 < float(read[name]["cpus"]) <= 1, name
    named = dict(re.findall(r"(?m)^(\w+_(?:CPUS|MEMORY))=(\S+)$", (DOCKER / ".env").read_text(encoding="utf-8")))
    defaults = re.findall(r"\$\{(\w+_(?:CPUS|MEMORY)):-([\w.]+)\}", (DOCKER / FILES[0]).read_text(encoding="utf-8"))
    assert named == dict(defaults)


def test_services__that_go_on_are_asked_how_they_are_and_get_time_to_end(services: dict[str, dict[str, Any]]) -> None:
    for name in set(OURS) - {"migrate"}:
        check = services[name]["healthcheck"]
        assert check["test"][:3] == ["CMD", "python", "/usr/local/bin/service.py"], name
        assert int(check["interval"].removesuffix("s")) >= 30, name
    assert {services[name]["stop_grace_period"] for name in ("code", "code-gpu")} == {"90s"}


def test_secrets__are_files_that_no_variable_repeats(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET", variable):
                assert str(value).startswith("/run/secrets/"), f"{name}: {variable}"
    assert {name for name, service in services.items() if "hf_token" in service.get("secrets", ())} == {
        "code",
        "code-gpu",
    }


def test_ports__are_published_on_loopback_alone(services: dict[str, dict[str, Any]]) -> None:
    published = {name: port for name, service in services.items() for port in service.get("ports", ())}
    assert published.keys() == {"webserver", "review", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in published.values())


def test_socket__of_the_engine_is_in_the_file_that_says_its_risk_alone() -> None:
    assert "docker.sock" not in (DOCKER / FILES[0]).read_text(encoding="utf-8")
    overlay = (DOCKER / FILES[1]).read_text(encoding="utf-8")
    assert "docker.sock" in overlay
    assert "THE RISK" in overlay


def test_settings__name_only_variables_that_the_services_have(services: dict[str, dict[str, Any]]) -> None:
    from_entry_point = {"DATA_MINER_DAGSTER_URL"}
    for name in ("dagster.yaml", "workspace.yaml"):
        assert _named(composed(name)) <= services["code"]["environment"].keys() | from_entry_point
    added = composed(FILES[1])["services"]["daemon"]["environment"].keys()
    assert _named(composed("dagster-runs.yaml")) <= services["daemon"]["environment"].keys() | added | from_entry_point


def test_settings__of_runs_in_containers_differ_in_the_launcher_alone() -> None:
    beside, apart = composed("dagster.yaml"), composed("dagster-runs.yaml")
    launcher = apart.pop("run_launcher")
    assert apart == beside
    volumes = {f"data-miner_{name}" for name in ("data", "project_files")}
    assert {volume.split(":")[0] for volume in launcher["config"]["container_kwargs"]["volumes"]} == volumes
    assert {value["name"] for value in composed(FILES[0])["volumes"].values() if value} == volumes


def test_launcher__of_runs_in_containers_is_understood_by_dagster(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._config import process_config
    from dagster_docker import DockerRunLauncher

    for name in ("DATA_MINER_RUN_IMAGE", "DATA_MINER_NETWORK"):
        monkeypatch.setenv(name, "x")
    known: Any = DockerRunLauncher
    checked = process_config(known.config_type(), composed("dagster-runs.yaml")["run_launcher"]["config"])
    assert checked.success, checked.errors


def _named(node: object) -> set[str]:
    return {value for key, value in _pairs(node) if key == "env"}


def _pairs(node: object) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from _pairs(value)
    elif isinstance(node, list):
        for value in node:
            yield from _pairs(value)
