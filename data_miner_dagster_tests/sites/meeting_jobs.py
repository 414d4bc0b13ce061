"""The jobs of site workers, with connections that are handed out only when four have been made.

The first worker then sends its request, and the others wait for the file `closed`. The workers meet through files in
the temporary folder.
"""

import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from data_miner_dagster.operations.foreign.site_jobs import main
from data_miner_dagster.sites import transport
from data_miner_dagster.sites.addresses import connect_checked

FOLDER = Path(tempfile.gettempdir())


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def connect_and_wait(*arguments: Any) -> socket.socket:
    """Connect, and wait for the other three connections."""
    connection = connect_checked(*arguments)
    (FOLDER / f"{os.getpid()}.connected").touch()
    _wait(lambda: len(list(FOLDER.glob("*.connected"))) >= 4)
    try:
        (FOLDER / "first").touch(exist_ok=False)
    except FileExistsError:
        _wait((FOLDER / "closed").exists)
    return connection


if __name__ == "__main__":
    setattr(transport, connect_checked.__name__, connect_and_wait)
    main()
