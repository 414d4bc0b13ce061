"""Tests the topology of docker/docker-compose.yaml as processes on a real PostgreSQL. Each part is restarted."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, NullPool, create_engine, make_url, text

from data_miner_dagster_tests.end_to_end.commands import project, write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.end_to_end.services import OURS, Services
from data_miner_dagster_tests.support.postgres import server_in, start_again

pytestmark = [pytest.mark.slow(140), pytest.mark.models, pytest.mark.postgres, pytest.mark.timeout(2400)]

PASSWORD = "p@ss/w:rd #1%"
"""A password with characters that have a meaning in URLs."""


@pytest.fixture
def services(
    tmp_path: Path,
    postgres_server_url: str,
    clips: dict[str, Path],  # noqa: ARG001 - must be there before the services are
) -> Iterator[Services]:
    admin = create_engine(postgres_server_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)  # the server restarts
    with admin.connect() as connection:
        _remove_all(connection)  # left by a failed run of this test
        connection.execute(text(f"CREATE ROLE miner SUPERUSER LOGIN PASSWORD '{PASSWORD}'"))
        (folder,) = connection.execute(text("SHOW unix_socket_directories")).one()
    secret = tmp_path / "postgres_password"
    secret.write_text(f"{PASSWORD}\n")
    url = make_url(postgres_server_url)
    running = Services(
        tmp_path,
        {
            "DATA_MINER_DATABASE_HOST": url.host or str(url.query.get("host") or folder),
            "DATA_MINER_DATABASE_PORT": str(url.port or 5432),
            "DATA_MINER_DATABASE_PASSWORD_FILE": str(secret),
        },
    )
    try:
        running.start_all()
        yield running
    finally:
        running.stop()
        with admin.connect() as connection:
            _remove_all(connection)
        admin.dispose()


def _remove_all(connection: Connection) -> None:
    for name in ("dagster", "catalog"):
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    connection.execute(text("DROP ROLE IF EXISTS miner"))


def test_services__each_part_may_be_stopped_and_started_and_nothing_is_lost(
    services: Services, clips: dict[str, Path], postgres_server_url: str
) -> None:
    names = ("bikes.mp4", "walking.mp4") if "walking.mp4" in clips else tuple(sorted(clips))[:2]
    content = project("containers", [{"type": "files", "paths": [str(clips[name]) for name in names]}])
    del content["platform"]
    write_yaml(services.project_files / "containers.yaml", content)
    wait_for("the first run", lambda: services.runs() or None, timeout=300)
    for name in OURS:
        services.restart(name)
    restart_postgres(postgres_server_url)

    manifest = services.root / "releases" / "containers" / "v001" / "release.json"
    wait_for("the release", lambda: manifest if manifest.exists() else None, timeout=900, every=1)
    assert json.loads(manifest.read_text())["num_images"] > 0
    assert [path.name for path in manifest.parent.parent.iterdir() if path.name.startswith("v")] == ["v001"]
    assert {name: services.health(name).stderr for name in OURS} == dict.fromkeys(OURS, "")
    assert not list(services.root.glob("catalog.sqlite*"))
    assert not [path for folder in (services.home, services.root) for path in folder.rglob("*.db")]
    check_logs(services, len(names))


def check_logs(services: Services, num_videos: int) -> None:
    """Check that no video was processed twice, and that the UI and the collector get runs' logs without the secret."""
    written = sorted((services.root / "dagster_home" / "storage").glob("*/compute_logs/*.err"))
    lines = [json.loads(line) for path in written for line in path.read_text().splitlines() if line.startswith("{")]
    assert {"embedding", "detection"} <= {line.get("stage") for line in lines}
    assert all({"time", "level", "logger", "message", "run_id"} <= set(line) for line in lines if "stage" in line)
    for made in ("videos", "frames"):
        done = [line["video"] for line in lines if re.fullmatch(rf"{made} \S+: done.*", line["message"])]
        # some may be missing: a run that was killed with its code server may not have logged its last videos
        assert 0 < len(done) == len(set(done)) <= num_videos, made
    path = next(path for path in written if path.stat().st_size)
    answer = services.graphql(
        "query ($key: [String!]!) { capturedLogs(logKey: $key) { stderr } }",
        {"key": [path.parent.parent.name, "compute_logs", path.stem]},
    )
    assert answer["capturedLogs"]["stderr"] == path.read_text()
    assert not [log for log in services.logs() if PASSWORD in log]


def restart_postgres(url: str) -> None:
    """Restart the server, which closes all connections."""
    engine = create_engine(url)
    with engine.connect() as connection:
        (folder,) = connection.execute(text("SHOW data_directory")).one()
    engine.dispose()
    server = server_in(Path(folder))
    pid = int((Path(folder) / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGINT)
    wait_for("PostgreSQL to end", lambda: None if (Path(folder) / "postmaster.pid").exists() else True, timeout=300)
    start_again(server)
