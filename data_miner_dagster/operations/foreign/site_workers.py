"""Make `SiteClient`'s requests in workers, so that a page that makes its reader hang or crash affects only one item.

Belongs here: limits, the secrets that a worker gets, and the errors raised if it ends. Does not belong here: sending
requests to a site (sites/client.py), or deciding whether they are allowed (politeness.py).
"""

import base64
import os
import re
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import ForeignAddress, NetworkAddress, Origin, OwnAddress, problem_of_address
from data_miner_dagster.domain.errors import SourceError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.secret_values import remember_secret
from data_miner_dagster.operations.foreign.pooled_workers import PooledWorkers
from data_miner_dagster.sites.hosts import has_numeric_host
from data_miner_dagster.sites.keys import is_direct_video_url, key_of_url
from data_miner_dagster.sites.records import CANDIDATES, FETCHED, LIMITS, PICTURES, FetchedVideo, ListingLimits, Picture
from data_miner_dagster.sites.redaction import redact_url
from data_miner_dagster.workers.errors import WorkerDiedError, WorkerLimitError
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.pool import WorkerPool
from data_miner_dagster.workers.worker import OnCall

LISTING_SECONDS: Final = 600.0
_PICTURE_SECONDS: Final = 60.0
_GRACE_SECONDS: Final = 5.0
"""A worker ends its job on its own when its time is up. If it is still busy this much later, it counts as hanging."""
_VARIABLE: Final = re.compile(r"(?:^|\{)env:([A-Za-z_][A-Za-z0-9_]*)(?:\}|$)")


class SiteWorkers(PooledWorkers):
    """A `SiteClient` in other processes, with the same requests, answers and callbacks. Thread-safe.

    If a callback raises, the request ends and raises the same exception.

    Besides variables without secrets, such as `PATH`, a worker sees only the environment variables that the
    configuration refers to, and those that the current address refers to if the user wrote it.
    """

    jobs_module = "data_miner_dagster.operations.foreign.site_jobs"

    def __init__(
        self,
        config: DownloadingConfig,
        *,
        may_request: Callable[[str], bool] = lambda _site: True,
        on_response: Callable[[str, int, Mapping[str, str]], None] = lambda _site, _status, _headers: None,
        on_refusal: Callable[[str, float | None, str], object] = lambda _site, _wait, _message: None,
        before_listing: Callable[[str], None] = lambda _site: None,
    ) -> None:
        self._config = config
        self._config_json = config.model_dump_json()
        self._may_request = may_request
        self._on_response = on_response
        self._on_refusal = on_refusal
        self._before_listing = before_listing
        self._variables = _named_variables(config)
        super().__init__(WorkerPool(self.jobs_module))

    def prover_pool(self) -> WorkerPool:
        """Return a pool for `MediaWorkers.probe`, whose workers get no secrets. Close it before this object."""
        return self._pool.beside()

    def recheck(self) -> None:
        """Make every worker ask `may_request` again before its next request, because the answer may have changed."""
        self._pool.notify()

    @property
    def process_ids(self) -> list[int]:
        """The ids of the current workers."""
        return self._pool.process_ids

    def list_address(
        self, address: OwnAddress, *, source: str, query: str, found_at: datetime, limits: ListingLimits | None = None
    ) -> list[VideoCandidate]:
        """Return the candidates at an address, listed by `SiteClient.list_address` in a worker.

        The direct address of a video on a numeric host needs no request, so its candidate is returned without a worker.

        Raises:
            SourceError: `SiteClient.list_address` raised it, or reading the address exceeded a limit or ended the
                worker.
            ConfigError: the environment variable of an `{env:NAME}` in the address is not set.
        """
        text = address.text.strip()
        if (
            has_numeric_host(text)
            and "{" not in text
            and is_direct_video_url(text)
            and problem_of_address(text) is None
        ):  # the worker would return the same candidate without any request
            return [VideoCandidate(key_of_url(text), text, source, query, 0, found_at, origin=Origin.OWN)]
        found: list[VideoCandidate] = []
        arguments = {
            "source": source,
            "query": query,
            "found_at": found_at.isoformat(),
            "limits": LIMITS.dump_python(limits or ListingLimits(), mode="json"),
        }

        def on_call(name: str, said: dict[str, Any]) -> Any:
            if name != "found":
                return self._answer(name, said)
            found.extend(CANDIDATES.validate_python(said["candidates"]))
            return None

        self._listed("list_address", arguments, address, LISTING_SECONDS, on_call)
        return found

    def fetch(
        self,
        video_key: str,
        address: NetworkAddress,
        folder: Path,
        *,
        found_at: datetime,
        accept: Callable[[VideoCandidate], None] = lambda _candidate: None,
    ) -> FetchedVideo:
        """Fetch a video into `folder` with `SiteClient.fetch` in a worker.

        `accept` is called with the site's metadata before any of the video is fetched. Its exceptions propagate.

        Raises:
            VideoPermanentError: `SiteClient.fetch` raised it, or (LIMIT_EXCEEDED) the worker exceeded
                `platform.downloading.limits` or `max_wall_seconds`.
            VideoTransientError: `SiteClient.fetch` raised it, or (CRASHED) the worker ended.
            ConfigError: the environment variable of an `{env:NAME}` in the address is not set.
        """

        def on_call(name: str, said: dict[str, Any]) -> Any:
            if name == "accept":
                return accept(CANDIDATES.validate_python(said["candidates"])[0])
            return self._answer(name, said)

        arguments = {
            "video_key": video_key,
            "folder": os.fspath(folder),
            "found_at": found_at.isoformat(),
        }
        seconds = self._config.max_wall_seconds
        try:
            return FETCHED.validate_python(self._call("fetch", arguments, address, seconds, on_call))
        except WorkerLimitError as error:
            said = self._of_limit(
                error,
                "the limit in platform.downloading.max_wall_seconds; raise the limit if downloads need longer, then "
                "try again",
                seconds,
            )
            raise VideoPermanentError(VideoErrorKind.LIMIT_EXCEEDED, f"the site's answer {said}") from None
        except WorkerDiedError as error:
            raise VideoTransientError(VideoErrorKind.CRASHED, f"the process that fetched the video {error}") from None

    def pictures_of(self, video_key: str, address: NetworkAddress, *, with_storyboards: bool) -> list[Picture]:
        """Return a video's pictures with their addresses, as `SiteClient.pictures_of` lists them in a worker.

        Raises:
            SourceError: `SiteClient.pictures_of` raised it, or reading the answer exceeded a limit or ended the worker.
            ConfigError: the environment variable of an `{env:NAME}` in the address is not set.
        """
        arguments = {"video_key": video_key, "with_storyboards": with_storyboards}
        pictures = self._listed("pictures_of", arguments, address, LISTING_SECONDS, self._answer)
        return PICTURES.validate_python(pictures)

    def fetch_picture(self, site: str, url: str) -> bytes:
        """Return the bytes of a picture, fetched by `SiteClient.fetch_picture` in a worker.

        Raises:
            SourceError: `SiteClient.fetch_picture` raised it, or reading the picture exceeded a limit or ended the
                worker.
        """
        content = self._listed("fetch_picture", {"site": site}, ForeignAddress(url), _PICTURE_SECONDS, self._answer)
        return base64.b64decode(content)

    def _answer(self, name: str, said: dict[str, Any]) -> Any:
        match name:
            case "may_request":
                return self._may_request(said["site"])
            case "on_response":
                return self._on_response(said["site"], said["status"], said["headers"])
            case "on_refusal":
                self._on_refusal(said["site"], said["wait"], said["message"])
            case "before_listing":
                return self._before_listing(said["site"])
        return None

    def _listed(
        self, job: str, arguments: dict[str, Any], address: NetworkAddress, seconds: float, on_call: OnCall
    ) -> Any:
        try:
            return self._call(job, arguments, address, seconds, on_call)
        except WorkerLimitError as error:
            said = self._of_limit(error, "the limit for a listing or picture; try again later", seconds)
            raise SourceError(f"{redact_url(address.text)}: the site's answer {said}") from None
        except WorkerDiedError as error:
            raise SourceError(f"{redact_url(address.text)}: the process that read the answer {error}") from None

    def _call(
        self, job: str, arguments: dict[str, Any], address: NetworkAddress, seconds: float, on_call: OnCall
    ) -> Any:
        limits = self._config.limits
        is_own = isinstance(address, OwnAddress)
        variables = {**self._variables, **_named_in(address.text)} if is_own else self._variables
        common = {"address": address.text, "is_own": is_own, "config": self._config_json, "variables": variables}
        return self._pool.call(
            job,
            {**arguments, **common},
            limits=WorkerLimits(seconds + _GRACE_SECONDS, limits.max_cpu_seconds, limits.max_memory_bytes),
            on_call=on_call,
        )

    def _of_limit(self, error: WorkerLimitError, name_of_time: str, seconds: float) -> str:
        limits = self._config.limits
        match error.which:
            case "wall":
                return f"was still being read after {seconds:g} s, {name_of_time}"
            case "cpu":
                what, limit = "CPU time", f"max_cpu_seconds ({limits.max_cpu_seconds:g})"
            case "memory":
                what, limit = "memory", f"max_memory_bytes ({limits.max_memory_bytes})"
            case _:
                return "contains more data than a worker may return; give an address that lists fewer videos"
        return (
            f"takes more {what} to read than platform.downloading.limits.{limit} allows; raise the limit if you trust "
            "the site"
        )


def _named_in(text: str) -> dict[str, str]:
    """Return the values of the environment variables that a string refers to, by name, and register them as secrets.

    Variables that are not set are omitted.
    """
    found = {name: os.environ[name] for name in _VARIABLE.findall(text) if name in os.environ}
    for value in found.values():
        remember_secret(value)
    return found


def _named_variables(config: DownloadingConfig) -> dict[str, str]:
    arguments = [value for by_name in config.extractor_args.values() for values in by_name.values() for value in values]
    found = {name: value for text in arguments for name, value in _named_in(text).items()}
    for text in (config.proxy, config.cookies):  # only a part of the value is secret
        match = _VARIABLE.fullmatch(text or "")
        if match and match[1] in os.environ:
            found[match[1]] = os.environ[match[1]]
    if config.proxy is not None and (proxy := found.get(config.proxy.removeprefix("env:"))):
        remember_secret(urllib.parse.unquote(urllib.parse.urlsplit(proxy).password or ""))
    return found
