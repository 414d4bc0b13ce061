"""The entry point and health check of every container of the platform.

    service.py run COMMAND ...      sets the databases' addresses from the mounted secrets, and executes the command
    service.py databases            creates the databases that are missing
    service.py health code PORT     asks a code server over gRPC, the way Kubernetes does
    service.py health http URL      asks a web page
    service.py health daemon        asks the database for the last heartbeat of Dagster's daemon

It imports neither Dagster nor this package: a check that did would cost a second of CPU every few seconds.
"""

import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DATABASES: Final = {"DATA_MINER_DAGSTER_URL": "dagster", "DATA_MINER_CATALOG_URL": "catalog"}
"""The databases that the services need, by the variable that names them. A variable that is already set is not changed.
"""
TIMEOUT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 150.0
"""A daemon without a heartbeat for this long is hanging or waiting for its database. It sends one every 30 seconds.
"""
_NEEDED_DAEMONS: Final = ("SENSOR", "QUEUED_RUN_COORDINATOR")
_HEALTH: Final = "/grpc.health.v1.Health/Check"
_SERVICE: Final = "DagsterApi"
_SERVING: Final = b"\x08\x01"
"""HealthCheckResponse with `status: SERVING`, in protobuf's encoding."""


def database_urls(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the addresses that the environment lacks, built from DATA_MINER_DATABASE_*.

    The password is the content of the file that DATA_MINER_DATABASE_PASSWORD_FILE names; it may contain any character.

    Raises:
        SystemExit: the file is missing, cannot be read or is empty.
    """
    missing = {variable: name for variable, name in DATABASES.items() if not environment.get(variable)}
    host = environment.get("DATA_MINER_DATABASE_HOST")
    if not missing or not host:
        return {}
    user = urllib.parse.quote(environment.get("DATA_MINER_DATABASE_USER", "miner"), safe="")
    password = urllib.parse.quote(_secret(environment, "DATA_MINER_DATABASE_PASSWORD_FILE"), safe="")
    port = environment.get("DATA_MINER_DATABASE_PORT", "5432")
    # a host that is a folder contains the server's socket
    at, more = ("", f"?host={urllib.parse.quote(host)}&port={port}") if host.startswith("/") else (f"{host}:{port}", "")
    return {
        variable: f"postgresql+psycopg2://{user}:{password}@{at}/{name}{more}" for variable, name in missing.items()
    }


def _secret(environment: Mapping[str, str], variable: str) -> str:
    file = environment.get(variable)
    if not file:
        sys.exit(f"{variable} is not set: set it to the path of a file that contains the database's password")
    try:
        value = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        sys.exit(f"{variable} is {file}: {error.strerror}; its owner has to be the user of the container (id 1000)")
    return value or sys.exit(f"{variable} is {file}, which is empty: write the database's password into it")


def create_databases(environment: Mapping[str, str]) -> None:
    """Create the databases that the server does not have yet, for example with a volume from an earlier version."""
    import psycopg2
    from psycopg2 import sql

    host = environment.get("DATA_MINER_DATABASE_HOST")
    if not host:
        sys.exit("DATA_MINER_DATABASE_HOST is not set: name the database server")
    connection = psycopg2.connect(
        host=host,
        port=environment.get("DATA_MINER_DATABASE_PORT", "5432"),
        user=environment.get("DATA_MINER_DATABASE_USER", "miner"),
        password=_secret(environment, "DATA_MINER_DATABASE_PASSWORD_FILE"),
        dbname="postgres",
    )
    connection.autocommit = True  # a database cannot be created within a transaction
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        existing = {name for (name,) in cursor.fetchall()}
        for name in sorted(set(DATABASES.values()) - existing):
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    connection.close()


def run(arguments: list[str]) -> None:
    """Replace this process with the command. The addresses are only in its environment, not in a file or setting."""
    environment = {**os.environ, **database_urls(os.environ)}
    os.execvpe(arguments[0], arguments, environment)  # noqa: S606 - the command of the container


def code_server_problem(port: str, host: str = "127.0.0.1") -> str | None:
    """Return why a code server is not healthy, or None if it is healthy."""
    import grpc

    name = _SERVICE.encode()
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        ask = channel.unary_unary(_HEALTH)
        try:
            answer = ask(b"\x0a" + bytes([len(name)]) + name, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return f"the code server at port {port} does not answer: {error.code().name}"
    return None if answer == _SERVING else f"the code server at port {port} is not serving yet"


def page_problem(url: str) -> str | None:
    """Return why a page is not served, or None if it is served."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS):  # noqa: S310 - an address of the compose file
            return None
    except (OSError, ValueError) as error:
        return f"{url}: {error}"


def daemon_problem(environment: Mapping[str, str]) -> str | None:
    """Return why Dagster's daemon counts as dead, or None if the parts that start work are alive."""
    import psycopg2

    url = environment.get("DATA_MINER_DAGSTER_URL") or database_urls(environment).get("DATA_MINER_DAGSTER_URL", "")
    query = (
        "SELECT daemon_type, extract(epoch FROM (now() AT TIME ZONE 'utc') - timestamp) FROM daemon_heartbeats "
        "WHERE daemon_type = ANY(%s)"
    )
    try:
        connection = psycopg2.connect(
            url.replace("postgresql+psycopg2://", "postgresql://", 1), connect_timeout=round(TIMEOUT_SECONDS)
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, (list(_NEEDED_DAEMONS),))
                silent = dict(cursor.fetchall())
        finally:
            connection.close()
    except psycopg2.Error as error:
        return f"the database of Dagster cannot be asked: {type(error).__name__}"
    for part in _NEEDED_DAEMONS:
        if part not in silent:
            return f"{part} has never reported"
        if silent[part] > SILENT_SECONDS:
            return f"{part} last reported {silent[part]:.0f} s ago"
    return None


def health(arguments: list[str]) -> str | None:
    """Return the problem of the service that the arguments name, or None if it is healthy."""
    match arguments:
        case ["code", port]:
            return code_server_problem(port)
        case ["http", url]:
            return page_problem(url)
        case ["daemon"]:
            return daemon_problem(os.environ)
    return f"no such check: {' '.join(arguments)}"


def main() -> None:
    """Run the subcommand that the arguments name."""
    match sys.argv[1:]:
        case ["run", *command] if command:
            run(command)
        case ["databases"]:
            create_databases(os.environ)
        case ["health", *check]:
            sys.exit(health(check))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
