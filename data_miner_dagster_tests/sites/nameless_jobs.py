"""The jobs of site workers, with a resolver for which every name is unknown."""

import socket
from typing import Any

from data_miner_dagster.operations.foreign.site_jobs import main


def no_names(host: str, *_: object) -> list[Any]:
    """Return no addresses."""
    raise OSError(-2, f"Name or service not known: {host}")


if __name__ == "__main__":
    socket.getaddrinfo = no_names  # type: ignore[assignment]
    main()
