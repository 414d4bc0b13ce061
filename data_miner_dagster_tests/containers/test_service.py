"""docker/service.py: addresses from secrets, and cheap health checks."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from psycopg2.extensions import parse_dsn
from sqlalchemy import make_url

PROGRAM = Path(__file__).parents[2] / "docker" / "service.py"
PASSWORD = "p@ss/w:rd #1%?&=äß"


@pytest.fixture(scope="module")
def service() -> ModuleType:
    spec = spec_from_file_location("service", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(folder: Path, password: str = f"{PASSWORD}\n", **changed: str) -> dict[str, str]:
    (folder / "password").write_text(password, encoding="utf-8")
    return {
        "DATA_MINER_DATABASE_HOST": "postgres",
        "DATA_MINER_DATABASE_PASSWORD_FILE": str(folder / "password"),
        **changed,
    }


@pytest.mark.parametrize("host", ["postgres", "/run/post gres"])
def test_database_urls__any_password_survives_both_readers(service: ModuleType, tmp_path: Path, host: str) -> None:
    urls = service.database_urls(settings(tmp_path, DATA_MINER_DATABASE_HOST=host))
    assert urls.keys() == {"DATA_MINER_DAGSTER_URL", "DATA_MINER_CATALOG_URL"}
    url = make_url(urls["DATA_MINER_CATALOG_URL"])
    assert (url.username, url.password, url.database) == ("miner", PASSWORD, "catalog")
    assert (url.host or url.query["host"]) == host
    libpq = parse_dsn(urls["DATA_MINER_CATALOG_URL"].replace("postgresql+psycopg2", "postgresql"))
    assert libpq == {"user": "miner", "password": PASSWORD, "dbname": "catalog", "host": host, "port": "5432"}


def test_database_urls__what_is_set_stays(service: ModuleType, tmp_path: Path) -> None:
    given = settings(tmp_path, DATA_MINER_CATALOG_URL="postgresql+psycopg2://elsewhere/catalog")
    assert service.database_urls(given).keys() == {"DATA_MINER_DAGSTER_URL"}
    assert service.database_urls({}) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": ""}, "which is empty: write the database's password into it"),
        ({"DATA_MINER_DATABASE_PASSWORD_FILE": "/nowhere"}, "No such file or directory"),
        ({"DATA_MINER_DATABASE_PASSWORD_FILE": ""}, "is not set: set it to the path of a file"),
    ],
)
def test_database_urls__a_missing_secret_is_one_line(
    service: ModuleType, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        service.database_urls(settings(tmp_path, **change))


def test_run__becomes_the_command_with_the_addresses(tmp_path: Path) -> None:
    shown = "import os; print(os.environ['DATA_MINER_DAGSTER_URL'])"
    command = [sys.executable, str(PROGRAM), "run", sys.executable, "-c", shown]
    printed = subprocess.run(command, env=settings(tmp_path), capture_output=True, text=True, check=True).stdout
    assert make_url(printed.strip()).password == PASSWORD


def test_health__of_a_code_server_is_what_it_says_of_itself() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def asked() -> tuple[int, str]:
        answer = subprocess.run(
            [sys.executable, PROGRAM, "health", "code", str(port)], capture_output=True, text=True, check=False
        )
        return answer.returncode, answer.stderr.strip()

    try:
        assert asked() == (1, f"the code server at port {port} does not answer: NOT_FOUND")
        servicer.set("DagsterApi", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert asked() == (1, f"the code server at port {port} is not serving yet")
        servicer.set("DagsterApi", health_pb2.HealthCheckResponse.SERVING)
        assert asked() == (0, "")
    finally:
        server.stop(None)
    assert asked() == (1, f"the code server at port {port} does not answer: UNAVAILABLE")


def test_health__imports_neither_dagster_nor_the_package() -> None:
    asked = (
        "import runpy, sys; sys.argv = ['x', 'health', 'code', '1']\ntry: runpy.run_path({!r}, run_name='__main__')\n"
    )
    looked = (
        "except SystemExit: loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'dagster', 'torch', 'data_miner_dagster'}))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", asked.format(str(PROGRAM)) + looked], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"
