"""The topology of docker/docker-compose.yaml as processes, on a real PostgreSQL: storage, catalog, code server."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import create_engine, make_url, text

from data_miner_dagster_tests.end_to_end.commands import CHECKOUT, command, environment, project, write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import Services, wait_for

pytestmark = [pytest.mark.slow(60), pytest.mark.models, pytest.mark.postgres, pytest.mark.timeout(600)]


@pytest.fixture
def services(
    tmp_path: Path,
    postgres_server_url: str,
    postgres_url: str,
    clips: dict[str, Path],  # noqa: ARG001 - must be there before the services are
) -> Iterator[Services]:
    catalog = "data_miner_test_services_catalog"
    admin = create_engine(postgres_server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {catalog}"))
    home, root = tmp_path / "dagster_home", tmp_path / "root"
    home.mkdir()
    shutil.copyfile(CHECKOUT / "docker" / "dagster.yaml", home / "dagster.yaml")
    url = make_url(postgres_server_url).set(database=catalog).render_as_string(hide_password=False)
    env = environment(
        DAGSTER_HOME=str(home),
        DATA_MINER_ROOT=str(root),
        DATA_MINER_PROFILE="lite",
        DATA_MINER_DAGSTER_URL=postgres_url,
        DATA_MINER_CATALOG_URL=url,
    )
    for migrate in ([sys.executable, "-m", "dagster", "instance", "migrate"], command("init-db")):
        subprocess.run(migrate, env=env, check=True, capture_output=True)
    running = Services(root, home, env)
    yield running
    running.stop()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {catalog} WITH (FORCE)"))
    admin.dispose()


def test_services__a_dropped_file_becomes_a_release(services: Services, clips: dict[str, Path]) -> None:
    content = project("containers", [{"type": "files", "paths": [str(clips["bikes.mp4"])]}])
    del content["platform"]
    write_yaml(services.project_files / "containers.yaml", content)
    manifest = services.root / "releases" / "containers" / "v001" / "release.json"
    wait_for("the release", lambda: manifest if manifest.exists() else None, timeout=300, every=2)
    assert json.loads(manifest.read_text())
    assert not (services.root / "catalog.sqlite").exists()
    assert not list(services.home.rglob("*.db")), "Dagster keeps something in SQLite"


def test_compose__says_what_the_services_here_are_started_with() -> None:
    compose = yaml.safe_load((CHECKOUT / "docker" / "docker-compose.yaml").read_text())
    services = compose["services"]
    assert services["code"]["command"][:3] == ["dagster", "code-server", "start"]
    assert services["code"]["command"][-1] == "data_miner_dagster.definitions"
    assert services["webserver"]["command"][:3] == ["python", "-m", "data_miner_dagster.web.dagster_webserver"]
    assert services["daemon"]["command"][:2] == ["dagster-daemon", "run"]
    assert [name for name in services if "HF_TOKEN" in services[name]["environment"]] == ["code"]
    assert all(service["security_opt"] == ["no-new-privileges:true"] for service in services.values())
    named = {
        value["env"]
        for name in ("dagster.yaml", "workspace.yaml")
        for value in _walk(yaml.safe_load((CHECKOUT / "docker" / name).read_text()))
        if set(value) == {"env"}
    }
    assert named <= set(services["code"]["environment"]), "a setting is read that the compose file does not set"


def _walk(node: object) -> Iterator[dict[str, str]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)
