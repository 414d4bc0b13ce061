"""Proof-of-origin tokens with yt-dlp's own framework, a local provider, and a local site that receives the token."""

import base64
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from yt_dlp.extractor.youtube import YoutubeIE
from yt_dlp.extractor.youtube.pot._registry import _pot_memory_cache
from yt_dlp.extractor.youtube.pot.provider import PoTokenContext

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import OwnAddress
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.sites.client import SiteClient
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install
from data_miner_dagster_tests.sites.hostile_server import Answer, Exchange, HostileServer
from data_miner_dagster_tests.support.small_videos import make_video

TOKEN = base64.urlsafe_b64encode(b"a token that nobody may read \xff\xfe").decode()


class PotTubeIE(YoutubeIE):  # type: ignore[misc]
    """Reads the page of a site whose media need a token like YouTube's."""

    IE_NAME = "pottube"
    _VALID_URL = r"https?://localhost:\d+/pot/(?P<id>\w+)"

    @classmethod
    def suitable(cls, url: str) -> bool:
        return cls._match_valid_url(url) is not None

    def _real_initialize(self) -> None:
        self._downloader.params["verbose"] = True  # have yt-dlp log as much as it can
        super()._real_initialize()

    def _real_extract(self, url: str) -> Any:
        token = self.fetch_po_token(
            client="web",
            context=PoTokenContext.GVS,
            ytcfg={"INNERTUBE_CONTEXT": {"client": {"clientName": "WEB"}}},
            visitor_data="visitor",
            required=True,
        )
        media = url.partition("/pot/")[0] + f"/media.mp4?pot={token}"
        return {"id": self._match_id(url), "title": "x", "url": media, "ext": "mp4"}


@pytest.fixture
def server() -> Iterator[HostileServer]:
    _pot_memory_cache.value = {}  # may hold a token of another test
    with hostile.hostile_server() as running:
        yield running


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Collect everything that is logged, even if an earlier test has changed the loggers."""
    text = io.StringIO()
    handler, logger = logging.StreamHandler(text), logging.getLogger("data_miner_dagster.sites")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield text
    logger.setLevel(level)
    logger.removeHandler(handler)


def token_server(server: HostileServer, answer: object, code: int = 200) -> list[dict[str, Any]]:
    """Answer like bgutil's server, and return a list that collects its requests."""
    questions: list[dict[str, Any]] = []
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    def reply(exchange: Exchange) -> None:
        questions.append(json.loads(exchange.rfile.read(int(exchange.headers["Content-Length"]))))
        exchange.start(code, len(content), "application/json")
        exchange.body(content)

    server.posts["/get_pot"] = reply
    return questions


def fetched(tmp_path: Path, server: HostileServer, **downloading: Any) -> str:
    """Download the video; return "done", or the message of the error."""
    clip = make_video(tmp_path / "clip.mp4", num_frames=5).read_bytes()
    whole: Answer = hostile.whole_file(clip)

    def media(exchange: Exchange) -> None:
        (whole if "pot=" in exchange.path and "None" not in exchange.path else hostile.status(403))(exchange)

    server.add("/media.mp4", media)
    config = DownloadingConfig.model_validate({"allowed_private_hosts": ["127.0.0.1", "localhost"], **downloading})
    tripped: list[int] = []
    with SiteClient(config, on_response=lambda _site, status, _headers: tripped.append(status)) as client:
        install(client, PotTubeIE)
        url = server.url("/pot/one", host="localhost")
        try:
            video = client.fetch("pottube-one", OwnAddress(url), tmp_path, found_at=utc_now())
        except VideoPermanentError as error:
            assert 429 not in tripped
            return str(error)
    assert TOKEN not in repr(video)
    return "done"


def test_provider__its_token_reaches_the_request_and_no_log(
    tmp_path: Path, server: HostileServer, log: io.StringIO
) -> None:
    questions = token_server(
        server, {"poToken": TOKEN, "contentBinding": "visitor", "expiresAt": "2999-01-01T00:00:00.000Z"}
    )
    trace = {"youtube": {"pot_trace": ["true"]}}
    assert fetched(tmp_path, server, po_token={"url": server.url("")}, extractor_args=trace) == "done"
    assert [question["content_binding"] for question in questions] == ["visitor"]
    assert questions[0]["innertube_context"] == {"client": {"clientName": "WEB"}}
    media = [request.path for request in server.requests if request.path.startswith("/media")]
    assert media
    assert all(f"pot={TOKEN}" in path for path in media)
    assert TOKEN not in log.getvalue()
    assert "PO Token response from" in log.getvalue()  # the line that would contain the token
    assert "pot=***" in log.getvalue()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"error": "out of order"}, 500),
        ({"error": "too busy"}, 429),  # does not open the site's breaker
        (b"[", 200),
        (b"[]", 200),
        (b"[" * 90_000, 200),
        ({"poToken": 5}, 200),
    ],
)
def test_provider__that_fails_is_said_and_stops_nothing_else(
    tmp_path: Path, server: HostileServer, log: io.StringIO, answer: object, code: int
) -> None:
    token_server(server, answer, code)
    assert "HTTP Error 403" in fetched(tmp_path, server, po_token={"url": server.url("")})
    assert "Error fetching PO Token" in log.getvalue()


def test_token__by_reference_reaches_the_request_and_no_log(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    monkeypatch.setenv("DATA_MINER_TEST_PO", f"web.gvs+{TOKEN},web.player+{TOKEN}")
    arguments = {"youtube": {"po_token": ["env:DATA_MINER_TEST_PO"]}}
    assert fetched(tmp_path, server, extractor_args=arguments) == "done"
    assert any(f"pot={TOKEN}" in request.path for request in server.requests)
    assert TOKEN not in log.getvalue()


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:4416", "http://me:secret@127.0.0.1:4416", "ftp://127.0.0.1", "127.0.0.1"]
)
def test_config__wants_an_allowed_host_without_credentials(url: str) -> None:
    with pytest.raises(ValidationError, match="po_token"):
        DownloadingConfig.model_validate({"allowed_private_hosts": ["127.0.0.1"], "po_token": {"url": url}})
