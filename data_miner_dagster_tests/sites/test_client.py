"""The client over real yt-dlp: which format, TLS, proxies, the hint at a missing runtime. All on this machine."""

import base64
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.errors import ConfigError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.sites.client import FetchedVideo, SiteClient
from data_miner_dagster.sites.guarded_ydl import options_of
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install
from data_miner_dagster_tests.sites.hostile_server import HostileServer

SECRET = "pr0xy-5EC12E7"


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile.hostile_server() as running:
        yield running


def config(**values: object) -> DownloadingConfig:
    return DownloadingConfig.model_validate({"allowed_private_hosts": ["127.0.0.1"], **values})


def fetch(client: SiteClient, key: str, url: str, folder: Path) -> FetchedVideo:
    return client.fetch(key, url, folder, found_at=utc_now())


def offered(server: HostileServer, *formats: tuple[str, int, str, int]) -> list[dict[str, Any]]:
    """Return formats of (id, height, codec, bit rate), each served as its own bytes."""
    return [
        {
            "format_id": name,
            "url": server.add(f"/{name}.mp4", hostile.whole_file(name.encode())),
            "ext": "mp4",
            "height": height,
            "width": height * 16 // 9,
            "vcodec": codec,
            "acodec": "none",
            "tbr": rate,
        }
        for name, height, codec, rate in formats
    ]


@pytest.mark.parametrize(("max_height", "expected"), [(720, "small"), (1080, "large"), (480, "tiny"), (240, "tiny")])
def test_fetch__the_smallest_that_satisfies_h264_first_in_one_extraction(
    tmp_path: Path, server: HostileServer, max_height: int, expected: str
) -> None:
    formats = offered(
        server,
        ("large", 1080, "avc1.640028", 4000),
        ("vp9", 720, "vp9", 500),
        ("heavy", 720, "avc1.4d401f", 3000),
        ("small", 720, "avc1.4d401f", 900),
        ("tiny", 360, "avc1.42001e", 300),
    )
    extractions = []

    class SomeIE(InfoExtractor):  # type: ignore[misc]
        _VALID_URL = r"https?://127\.0\.0\.1:\d+/watch/(?P<id>\w+)"

        def _real_extract(self, url: str) -> Mapping[str, Any]:
            extractions.append(url)
            return {"id": self._match_id(url), "title": "../../etc/passwd", "formats": formats, "license": "CC BY"}

    with SiteClient(config(max_height=max_height)) as client:
        install(client, SomeIE)
        fetched = fetch(client, "some-a", server.url("/watch/a"), tmp_path)
    assert fetched.format_id == expected
    assert fetched.path == tmp_path / "video.mp4"  # whatever its title
    assert fetched.path.read_text() == expected
    assert fetched.candidate.licence == "CC BY"
    assert len(extractions) == 1
    assert [request.path for request in server.requests] == [f"/{expected}.mp4"]


@pytest.mark.parametrize("runtime", [None, "/usr/bin/deno"])
def test_fetch__a_missing_javascript_runtime_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str | None
) -> None:
    class YoutubeIE(InfoExtractor):  # type: ignore[misc]
        _VALID_URL = r"https?://(?P<id>youtube)\.test/"

        def _real_extract(self, url: str) -> Mapping[str, Any]:
            raise ExtractorError("Requested format is not available", expected=True)

    with SiteClient(config()) as client:
        install(client, YoutubeIE)
        monkeypatch.setattr("data_miner_dagster.sites.client.javascript_runtime", lambda: runtime)
        with pytest.raises(VideoPermanentError) as refused:
            fetch(client, "youtube-abc", "https://youtube.test/", tmp_path)
    assert refused.value.kind is VideoErrorKind.UNSUPPORTED
    assert ("pip install 'yt-dlp[default,deno]'" in str(refused.value)) == (runtime is None)


def test_options_of__nothing_of_the_configuration_can_run_or_write(tmp_path: Path) -> None:
    options = options_of(config(extractor_args={"youtube": {"player_client": ["web; rm -rf /"]}}))
    assert not {name for name in options if "post" in name or "exec" in name or "download_archive" in name}
    assert options["external_downloader"] == {"default": "native"}
    assert options["extractor_args"]["youtube"] == {"player_client": ["web; rm -rf /"]}  # data, to one extractor
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        config(postprocessors=[{"key": "Exec", "exec_cmd": "true"}])


def test_options_of__references_that_lead_nowhere_are_one_line(tmp_path: Path) -> None:
    for values, what in (
        ({"cookies": f"file:{tmp_path}/gone.txt"}, "gone.txt cannot be read"),
        ({"cookies": "env:DATA_MINER_NO_SUCH"}, "DATA_MINER_NO_SUCH is not set"),
        ({"proxy": "env:DATA_MINER_NO_SUCH"}, "DATA_MINER_NO_SUCH is not set"),
        ({"extractor_args": {"youtube": {"po_token": ["env:DATA_MINER_NO_SUCH"]}}}, "DATA_MINER_NO_SUCH is not set"),
    ):
        with pytest.raises(ConfigError, match=what):
            options_of(config(**values))


def test_options_of__secrets_in_plain_are_refused() -> None:
    for values in (
        {"cookies": "cookies.txt"},
        {"proxy": "http://me:secret@proxy.test:80"},
        {"extractor_args": {"youtube": {"po_token": ["secret"]}}},
    ):
        with pytest.raises(ValueError, match="env:NAME or file:PATH"):
            config(**values)


def test_options_of__cookies_of_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    options = options_of(config(cookies_from_browser="firefox:work"))
    assert options["cookiesfrombrowser"] == ("firefox", "work", None, None)


# --- proxies ---


def test_fetch__through_a_proxy_named_by_reference(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """198.51.100.7 (TEST-NET-2) exists nowhere: what comes, came through the proxy."""
    caplog.set_level("DEBUG")
    address = "http://198.51.100.7/clip.mp4"
    server.answers[address] = hostile.whole_file(b"through the proxy")
    monkeypatch.setenv("DATA_MINER_TEST_PROXY", server.url("").replace("://", f"://me:{SECRET}@"))
    allowed = ["198.51.100.7"]
    with SiteClient(config(proxy="env:DATA_MINER_TEST_PROXY", allowed_private_hosts=allowed)) as client:
        fetched = fetch(client, "generic-clip", address, tmp_path)
        assert fetched.path.read_bytes() == b"through the proxy"
        (request,) = server.requests
        credentials = base64.b64encode(f"me:{SECRET}".encode()).decode()
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert headers["proxy-authorization"] == f"Basic {credentials}"
        # an address that is not public is refused here, not left to the proxy
        with pytest.raises(VideoPermanentError) as refused:
            fetch(client, "generic-inner", "http://10.0.0.1/inner.mp4", tmp_path)
        assert refused.value.kind is VideoErrorKind.POLICY
        assert len(server.requests) == 1
        # a proxy that refuses is an error without its password
        server.answers["http://198.51.100.7/no.mp4"] = hostile.status(407)
        with pytest.raises((VideoPermanentError, VideoTransientError)) as failed:
            fetch(client, "generic-no", "http://198.51.100.7/no.mp4", tmp_path)
    assert SECRET not in str(failed.value) + caplog.text
    assert credentials not in str(failed.value) + caplog.text


# --- TLS ---


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that only this test trusts, with its key in the same file."""
    key, path = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    named = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(path)]
    subprocess.run([*command.split(), *named], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return path


@pytest.fixture
def secure_server(server: HostileServer, certificate: Path) -> HostileServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # The handshake is left to the thread of the exchange: one that fails must not end the server.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def test_fetch__https_with_a_certificate_that_is_trusted(
    tmp_path: Path, secure_server: HostileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure_server.add("/clip.mp4", hostile.whole_file(b"secure"))
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    with SiteClient(config()) as client:
        url = secure_server.url("/clip.mp4").replace("http:", "https:")
        assert fetch(client, "generic-clip", url, tmp_path).path.read_bytes() == b"secure"
        with pytest.raises(VideoPermanentError, match="not a public address"):
            fetch(client, "generic-clip", url.replace("127.0.0.1", "127.0.0.2"), tmp_path)


def test_fetch__https_with_a_certificate_of_nobody_is_refused(tmp_path: Path, secure_server: HostileServer) -> None:
    secure_server.add("/clip.mp4", hostile.whole_file(b"secure"))
    with SiteClient(config()) as client, pytest.raises((VideoPermanentError, VideoTransientError)) as refused:
        fetch(client, "generic-clip", secure_server.url("/clip.mp4").replace("http:", "https:"), tmp_path)
    assert "certificate" in str(refused.value).lower()
    assert secure_server.count() == 0
