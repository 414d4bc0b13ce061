"""Extractors of invented sites, for cases where yt-dlp's own extractors would need a real site."""

import json
import os
import signal
from typing import Any

import pytest
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError

from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.sites import references
from data_miner_dagster.sites.client import SiteClient
from data_miner_dagster.sites.guarded_ydl import GuardedYoutubeDL
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer


def install(client: SiteClient, extractor: type[Any]) -> None:
    """Make a client try this extractor before all others, in the calling thread."""
    _put_first(client._ydl(), extractor)


def install_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the workers of a test try the extractors of this module before all others."""
    monkeypatch.setattr(SiteWorkers, "jobs_module", "data_miner_dagster_tests.sites.tube_jobs")


def install_in_this_process(*extractors: type[Any]) -> None:
    """Make every client that this process creates from now on try these extractors before all others."""
    add_defaults = GuardedYoutubeDL.add_default_info_extractors

    def add(ydl: GuardedYoutubeDL) -> None:
        add_defaults(ydl)
        for extractor in extractors:
            _put_first(ydl, extractor)

    setattr(GuardedYoutubeDL, add_defaults.__name__, add)


def _put_first(ydl: GuardedYoutubeDL, extractor: type[Any]) -> None:
    ydl.add_info_extractor(extractor(ydl))
    key = extractor.ie_key()
    ydl._ies = {key: ydl._ies[key], **ydl._ies}


class TubeIE(InfoExtractor):  # type: ignore[misc]
    """Reads the page of a single video: a JSON object with the fields of the video."""

    IE_NAME = "tube"
    _RETURN_TYPE = "video"
    _VALID_URL = r"https?://localhost:\d+/tube/watch/(?P<id>\w+)"

    def _real_extract(self, url: str) -> Any:
        return {"id": self._match_id(url), **self._download_json(url, None)}


class TubeListIE(InfoExtractor):  # type: ignore[misc]
    """Reads flat playlists and channels of `TubeIE`'s site. An entry has the fields that a listing shows of a video."""

    IE_NAME = "tube:list"
    _VALID_URL = r"https?://localhost:\d+/tube/list/(?P<id>\w+)"

    def _real_extract(self, url: str) -> Any:
        base = url.partition("/tube/")[0]
        entries = [
            self.url_result(f"{base}/tube/watch/{entry['id']}", TubeIE, entry["id"], **entry["shown"])
            for entry in self._download_json(url, None)
        ]
        return self.playlist_result(entries, self._match_id(url))


class WaryIE(InfoExtractor):  # type: ignore[misc]
    """Imitates a site that refuses with a page whose status is not an error."""

    IE_NAME = "wary"
    _VALID_URL = r"https?://localhost:\d+/wary/(?P<id>\w+)"

    def _real_extract(self, url: str) -> Any:
        self._download_webpage(url, self._match_id(url))
        raise ExtractorError("Sign in to confirm you\u2019re not a bot", expected=True)


class BoardIE(InfoExtractor):  # type: ignore[misc]
    """Reads pages whose JSON is the complete result of an extraction by yt-dlp, with formats."""

    _VALID_URL = r"https?://127\.0\.0\.1:\d+/watch/(?P<id>\w+)"

    def _real_extract(self, url: str) -> Any:
        return {"id": self._match_id(url), **self._download_json(url, None)}


class ChangedIE(InfoExtractor):  # type: ignore[misc]
    """Imitates a site whose pages offer only pictures, or nothing."""

    IE_NAME = "changed"
    _RETURN_TYPE = "video"
    _VALID_URL = r"https?://localhost:\d+/changed/(?P<id>\w+)"

    def _real_extract(self, url: str) -> Any:
        page = self._download_webpage(url, self._match_id(url))
        pictures = [{"url": url, "format_id": "sb0", "vcodec": "none", "acodec": "none", "ext": "mhtml"}]
        return {"id": self._match_id(url), "title": "x", "formats": pictures if "pictures" in page else []}


class CrashIE(InfoExtractor):  # type: ignore[misc]
    """Kills the process that reads a page, with the signal that the page's id names."""

    IE_NAME = "crash"
    _VALID_URL = r"https?://localhost:\d+/crash/(?P<id>\w+)"

    def _real_extract(self, url: str) -> Any:
        os.kill(os.getpid(), signal.Signals[self._match_id(url)])


class EnvironmentIE(InfoExtractor):  # type: ignore[misc]
    """Describes a video by the secrets and references that the process which reads its page can see."""

    _VALID_URL = r"https?://localhost:\d+/environment/(?P<id>[\w-]+)"

    def _real_extract(self, url: str) -> Any:
        secrets = [name for name, value in os.environ.items() if "5EC12E7" in value]
        found = {"provided": sorted(references._provided), "secrets": secrets}
        return {"id": self._match_id(url), "title": "x", "description": json.dumps(found)}


def offer_page(server: HostileServer, video_id: str, **page: Any) -> str:
    """Serve a page for `TubeIE`, and return its address."""
    return _add(server, f"/tube/watch/{video_id}", page)


def offer_list(server: HostileServer, name: str, shown_by_id: dict[str, dict[str, Any]]) -> str:
    """Serve a list for `TubeListIE`, and return its address."""
    entries = [{"id": video_id, "shown": shown} for video_id, shown in shown_by_id.items()]
    return _add(server, f"/tube/list/{name}", entries)


def _add(server: HostileServer, path: str, content: object) -> str:
    server.add(path, hostile.page(json.dumps(content), "application/json"))
    return server.url(path, host="localhost")  # a numeric host does not count as a site
