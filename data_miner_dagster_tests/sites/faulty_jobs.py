"""The jobs of site workers, with a planted bug that every address containing `victim` triggers."""

from typing import Any

from yt_dlp.utils.networking import select_proxy

from data_miner_dagster.operations.foreign.site_jobs import main
from data_miner_dagster.sites import transport


def _select(url: str, proxies: Any) -> Any:
    if "victim" in url:
        raise ZeroDivisionError("planted")
    return select_proxy(url, proxies)


if __name__ == "__main__":
    setattr(transport, select_proxy.__name__, _select)
    main()
