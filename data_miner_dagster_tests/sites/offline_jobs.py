"""The jobs of site workers, on a host without a network, where every name lookup fails."""

import socket
from typing import Any, NoReturn

from data_miner_dagster.operations.foreign.site_jobs import main


def _resolve(*_: Any, **__: Any) -> NoReturn:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


if __name__ == "__main__":
    setattr(socket, socket.getaddrinfo.__name__, _resolve)
    main()
