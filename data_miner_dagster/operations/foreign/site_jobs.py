"""Make `SiteClient`'s requests in the workers of `SiteWorkers`, since untrusted bytes may damage a process.

Separate workers verify the fetched files.

The caller decides about politeness, since it knows all requests. A worker asks the caller before each listing, and
before each request unless an earlier permission still holds. It also reports error responses and refusals.
"""

import base64
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import ForeignAddress, NetworkAddress, OwnAddress
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.operations.foreign.probe_jobs import probe
from data_miner_dagster.sites.client import SiteClient
from data_miner_dagster.sites.guarded_ydl import GuardedYoutubeDL
from data_miner_dagster.sites.records import CANDIDATES, FETCHED, LIMITS, PICTURES
from data_miner_dagster.sites.references import provide
from data_miner_dagster.workers.limits import renew_cpu_limit
from data_miner_dagster.workers.serving import ask, num_notices, serve, tell_spent

_A_PORTION: Final = 500
_FIRST_ERROR_STATUS: Final = 400
_TELL_SECONDS: Final = 5.0
"""Seconds between reports of received bytes. If a worker is killed, bytes not yet reported are not counted."""


class _Manners:
    """Asks whether a request is allowed, unless an earlier permission still holds. Reports error responses."""

    def __init__(self) -> None:
        self._allowed_at: dict[str, int] = {}  # by site: `num_notices()` when a request was last allowed

    def may_request(self, site: str) -> bool:
        now = num_notices()
        if self._allowed_at.get(site) == now:
            return True
        is_allowed = bool(ask("may_request", {"site": site}))
        if is_allowed:
            self._allowed_at[site] = now
        return is_allowed

    @staticmethod
    def on_response(site: str, status: int, headers: Mapping[str, str]) -> None:
        renew_cpu_limit()
        tell_spent()
        if status >= _FIRST_ERROR_STATUS:
            shown = {"Retry-After": wait} if (wait := headers.get("Retry-After")) is not None else {}
            ask("on_response", {"site": site, "status": status, "headers": shown})


class _Receiving:
    """Listens for received bytes, and reports their number to the caller every few seconds."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def on_bytes(self) -> None:
        renew_cpu_limit()
        if time.monotonic() - self._told_at >= _TELL_SECONDS:
            self._told_at = time.monotonic()
            tell_spent()


_clients: dict[str, SiteClient] = {}
"""The client of this process, by its configuration. At most one client exists at a time."""


def _address(arguments: dict[str, Any]) -> NetworkAddress:
    return (OwnAddress if arguments["is_own"] else ForeignAddress)(arguments["address"])


def _client(arguments: dict[str, Any]) -> SiteClient:
    provide(arguments["variables"])
    config: str = arguments["config"]
    if config not in _clients:
        while _clients:
            _clients.popitem()[1].close()
        manners = _Manners()
        _clients[config] = SiteClient(
            DownloadingConfig.model_validate_json(config),
            may_request=manners.may_request,
            on_response=manners.on_response,
            on_refusal=lambda site, wait, message: ask("on_refusal", {"site": site, "wait": wait, "message": message}),
            before_listing=lambda site: ask("before_listing", {"site": site}),
            on_bytes=_Receiving().on_bytes,
        )
    return _clients[config]


def _list_address(arguments: dict[str, Any]) -> None:
    """List an address, and send the answer in portions, because a feed may have any number of entries."""
    found = _client(arguments).list_address(
        OwnAddress(arguments["address"]),
        source=arguments["source"],
        query=arguments["query"],
        found_at=datetime.fromisoformat(arguments["found_at"]),
        limits=LIMITS.validate_python(arguments["limits"]),
    )
    for start in range(0, len(found), _A_PORTION):
        ask("found", {"candidates": CANDIDATES.dump_python(found[start : start + _A_PORTION], mode="json")})


def _accept(candidate: VideoCandidate) -> None:
    ask("accept", {"candidates": CANDIDATES.dump_python([candidate], mode="json")})


def _fetch(arguments: dict[str, Any]) -> Any:
    fetched = _client(arguments).fetch(
        arguments["video_key"],
        _address(arguments),
        Path(arguments["folder"]),
        found_at=datetime.fromisoformat(arguments["found_at"]),
        accept=_accept,
    )
    return FETCHED.dump_python(fetched, mode="json")


def _pictures_of(arguments: dict[str, Any]) -> Any:
    pictures = _client(arguments).pictures_of(
        arguments["video_key"], _address(arguments), with_storyboards=arguments["with_storyboards"]
    )
    return PICTURES.dump_python(pictures, mode="json")


def _fetch_picture(arguments: dict[str, Any]) -> str:
    return base64.b64encode(_client(arguments).fetch_picture(arguments["site"], arguments["address"])).decode()


JOBS: Final[Mapping[str, Callable[[dict[str, Any]], Any]]] = {
    "list_address": _list_address,
    "fetch": _fetch,
    "pictures_of": _pictures_of,
    "fetch_picture": _fetch_picture,
    "probe_video": probe,
}


def main() -> None:
    """Serve jobs until the parent process ends."""
    GuardedYoutubeDL(DownloadingConfig()).close()  # all workers inherit the modules that this imports and compiles
    serve(JOBS)


if __name__ == "__main__":
    main()
