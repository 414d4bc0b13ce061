"""Outgoing connections to local servers: deadlines, proxies by reference, TLS, redirects, and the address policy."""

import base64
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.networking import Request

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import OwnAddress
from data_miner_dagster.domain.errors import VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.sites.client import SiteClient
from data_miner_dagster.sites.records import FetchedVideo
from data_miner_dagster.sites.transport import DeadlineExceededError, Deadlines, Errand
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.sites.proxies import TunnelServer, tunnel_server
from data_miner_dagster_tests.support.waiting import wait_until

SECRET = "pr0xy-5EC12E7"
NOWHERE = "198.51.100.7"
"""An address of TEST-NET-2, which no host has. An answer from it must have come through a proxy."""


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile.hostile_server() as running:
        yield running


@pytest.fixture
def tunnel(server: HostileServer) -> Iterator[TunnelServer]:
    with tunnel_server(("127.0.0.1", server.server_address[1]), f"me:{SECRET}") as running:
        yield running


def config(**values: object) -> DownloadingConfig:
    return DownloadingConfig.model_validate({"allowed_private_hosts": [NOWHERE], **values})


def fetch(client: SiteClient, url: str, folder: Path) -> FetchedVideo:
    return client.fetch("generic-clip", OwnAddress(url), folder, found_at=utc_now())


def refusal(client: SiteClient, url: str, folder: Path) -> VideoPermanentError | VideoTransientError:
    try:
        fetched = fetch(client, url, folder)
    except (VideoPermanentError, VideoTransientError) as error:
        return error
    raise AssertionError(f"not refused: {fetched}")


# --- deadlines ---


def test_check__a_deadline_that_has_passed_names_the_time_allowed() -> None:
    errand = Errand("a", time.monotonic() + 600)
    errand.expire()
    with pytest.raises(DeadlineExceededError, match=r"\(600 s\) has passed"):
        errand.check()


def test_deadlines__each_errand_ends_at_its_own() -> None:
    deadlines, now = Deadlines(), time.monotonic()
    patient, hasty, removed = Errand("a", now + 3600), Errand("a", now + 0.1), Errand("a", now + 3600)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        hasty.sockets.add(ours)
        deadlines.add(patient)
        deadlines.add(removed)
        deadlines.remove(removed)
        removed.deadline = now  # would expire if it were still watched
        deadlines.add(hasty)  # wakes the thread, which is waiting for `patient`
        assert ours.recv(1) == b""  # returns when the socket is shut down
    assert (hasty.is_expired, patient.is_expired, removed.is_expired) == (True, False, False)
    deadlines.close()
    again = Errand("a", time.monotonic())
    deadlines.add(again)
    wait_until(lambda: again.is_expired)
    deadlines.close()


# --- proxies ---


def test_proxy__http(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    address = f"http://{NOWHERE}/clip.mp4"
    server.answers[address] = hostile.whole_file(b"through the proxy")
    monkeypatch.setenv("DATA_MINER_TEST_PROXY", server.url("").replace("://", f"://me:{SECRET}@"))
    with SiteClient(config(proxy="env:DATA_MINER_TEST_PROXY")) as client:
        fetched = fetch(client, address, tmp_path)
        assert fetched.path.read_bytes() == b"through the proxy"
        (request,) = server.requests
        credentials = base64.b64encode(f"me:{SECRET}".encode()).decode()
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert headers["proxy-authorization"] == f"Basic {credentials}"
        # an address that is not public is refused by the client, not left to the proxy
        assert refusal(client, "http://10.0.0.1/inner.mp4", tmp_path).kind is VideoErrorKind.POLICY
        assert len(server.requests) == 1
        # the error of a proxy that refuses does not contain the password
        server.answers[f"http://{NOWHERE}/no.mp4"] = hostile.status(407)
        shown = str(refusal(client, f"http://{NOWHERE}/no.mp4", tmp_path)) + caplog.text
    assert SECRET not in shown
    assert credentials not in shown


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_proxy__socks5(
    tmp_path: Path,
    server: HostileServer,
    tunnel: TunnelServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    scheme: str,
) -> None:
    caplog.set_level("DEBUG")
    server.add("/clip.mp4", hostile.whole_file(b"through the tunnel"))
    monkeypatch.setenv("DATA_MINER_TEST_PROXY", tunnel.url(scheme))
    with SiteClient(config(proxy="env:DATA_MINER_TEST_PROXY")) as client:
        assert fetch(client, f"http://{NOWHERE}/clip.mp4", tmp_path).path.read_bytes() == b"through the tunnel"
        assert tunnel.targets == [f"{NOWHERE}:80"]
        # the client refuses addresses that are not public, and redirects to them
        server.add("/away.mp4", hostile.redirect("http://127.0.0.2/inner.mp4"))
        for url in ("http://10.0.0.1/a.mp4", "http://localhost/a.mp4", f"http://{NOWHERE}/away.mp4"):
            assert refusal(client, url, tmp_path).kind is VideoErrorKind.POLICY
        assert tunnel.targets == [f"{NOWHERE}:80"] * 2
        tunnel.credentials = "another:user"
        error = refusal(client, f"http://{NOWHERE}/clip.mp4", tmp_path)
    assert error.kind is VideoErrorKind.TRANSIENT
    assert SECRET not in str(error) + caplog.text


def test_proxy__a_name_that_only_the_proxy_can_resolve(
    tmp_path: Path,
    server: HostileServer,
    tunnel: TunnelServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.add("/clip.mp4", hostile.whole_file(b"through the tunnel"))
    monkeypatch.setenv("DATA_MINER_TEST_PROXY", tunnel.url("socks5h"))
    resolve = socket.getaddrinfo

    def resolve_numbers(host: str, *arguments: Any) -> Any:
        if host == "far.test":
            raise socket.gaierror(-2, "Name or service not known")
        return resolve(host, *arguments)

    monkeypatch.setattr("socket.getaddrinfo", resolve_numbers)
    with SiteClient(config(proxy="env:DATA_MINER_TEST_PROXY", allowed_private_hosts=[])) as client:
        assert fetch(client, "http://far.test/clip.mp4", tmp_path).path.read_bytes() == b"through the tunnel"
    assert tunnel.targets == ["far.test:80"]


def test_proxy__one_that_never_answers_ends_at_the_deadline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        limits = {"max_wall_seconds": 0.5, "socket_timeout_seconds": 600}  # no single read times out
        with SiteClient(config(proxy=f"socks5h://127.0.0.1:{mute.getsockname()[1]}", **limits)) as client:
            error = refusal(client, f"http://{NOWHERE}/clip.mp4", tmp_path)
    assert "max_wall_seconds" in str(error)


def test_proxy__connect_for_https(
    tmp_path: Path,
    secure_server: HostileServer,
    tunnel: TunnelServer,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    secure_server.add("/clip.mp4", hostile.whole_file(b"sealed"))
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    monkeypatch.setenv("DATA_MINER_TEST_PROXY", tunnel.url("http"))
    with SiteClient(config(proxy="env:DATA_MINER_TEST_PROXY")) as client:
        assert fetch(client, f"https://{NOWHERE}/clip.mp4", tmp_path).path.read_bytes() == b"sealed"
        assert refusal(client, "https://10.0.0.1/a.mp4", tmp_path).kind is VideoErrorKind.POLICY
        assert tunnel.targets == [f"{NOWHERE}:443"]
        tunnel.credentials = "another:user"
        error = refusal(client, f"https://{NOWHERE}/clip.mp4", tmp_path)
    assert SECRET not in str(error) + caplog.text
    assert base64.b64encode(f"me:{SECRET}".encode()).decode() not in str(error) + caplog.text


# --- TLS ---


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Create a certificate that only this test trusts, with its key in the same file."""
    key, path = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    named = ["-addext", "subjectAltName=IP:127.0.0.1,IP:198.51.100.7", "-keyout", str(key), "-out", str(path)]
    subprocess.run([*command.split(), *named], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return path


@pytest.fixture
def secure_server(server: HostileServer, certificate: Path) -> HostileServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # The exchange's own thread does the handshake, because a failed handshake must not end the server.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def test_https__with_a_certificate_that_is_trusted(
    tmp_path: Path, secure_server: HostileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure_server.add("/clip.mp4", hostile.whole_file(b"secure"))
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    with SiteClient(config(allowed_private_hosts=["127.0.0.1"])) as client:
        url = secure_server.url("/clip.mp4").replace("http:", "https:")
        assert fetch(client, url, tmp_path).path.read_bytes() == b"secure"
        with pytest.raises(VideoPermanentError, match="not a public address"):
            fetch(client, url.replace("127.0.0.1", "127.0.0.2"), tmp_path)


def test_https__with_a_certificate_of_nobody_is_refused(tmp_path: Path, secure_server: HostileServer) -> None:
    secure_server.add("/clip.mp4", hostile.whole_file(b"secure"))
    with (
        SiteClient(config(allowed_private_hosts=["127.0.0.1"])) as client,
        pytest.raises((VideoPermanentError, VideoTransientError)) as refused,
    ):
        fetch(client, secure_server.url("/clip.mp4").replace("http:", "https:"), tmp_path)
    assert "certificate" in str(refused.value).lower()
    assert secure_server.count() == 0


# --- redirects ---


@pytest.mark.parametrize("follows", [True, False])
def test_redirect__credentials_stay_with_the_host_they_were_given_to(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch, follows: bool
) -> None:
    monkeypatch.setenv("DM_PW", "pass-word-123")
    with hostile.hostile_server("127.0.0.2") as other:
        there = server if follows else other
        there.add("/v.mp4", hostile.whole_file(b"a video"))
        server.add("/away.mp4", hostile.redirect(there.url("/v.mp4")))
        with SiteClient(config(allowed_private_hosts=["127.0.0.1", "127.0.0.2"])) as client:
            fetch(client, server.url("/away.mp4").replace("//", "//me:{env:DM_PW}@"), tmp_path)
        expected = f"Basic {base64.b64encode(b'me:pass-word-123').decode()}"
        assert server.requests[0].headers.get("Authorization") == expected
        arrived = there.requests[-1]
        assert (arrived.path, arrived.headers.get("Authorization")) == ("/v.mp4", expected if follows else None)


def test_redirect__no_header_of_a_secret_and_no_referer_to_another_port(server: HostileServer) -> None:
    with hostile.hostile_server() as other, SiteClient(config(allowed_private_hosts=["127.0.0.1"])) as client:
        server.add("/a", hostile.redirect(other.add("/b", hostile.page("b"))))
        secrets = {"Authorization": "a", "Cookie": "b=c", "X-Api-Key": "d", "Referer": "http://127.0.0.1/?token=e"}
        with client._ydl().urlopen(Request(server.url("/a"), headers={**secrets, "X-Kind": "kept"})) as response:
            assert response.read() == b"b"
    (asked,), (arrived,) = server.requests, other.requests
    assert secrets.items() <= asked.headers.items()
    assert not secrets.keys() & arrived.headers.keys()
    assert arrived.headers["X-Kind"] == "kept"


def test_redirect__names_no_variable(tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DM_PW", "pass-word-123")
    server.add("/v.mp4", hostile.whole_file(b"a video"))
    server.add("/away.mp4", hostile.redirect(server.url("/v.mp4?k={env:DM_PW}")))
    with SiteClient(config(allowed_private_hosts=["127.0.0.1"])) as client:
        fetch(client, server.url("/away.mp4"), tmp_path)
    assert [request.path for request in server.requests] == ["/away.mp4", "/v.mp4?k=%7Benv:DM_PW%7D"]


@pytest.mark.parametrize("location", ["http://127.0.0.1:999999/v.mp4", "http://127.0.0.1:12a/v.mp4"])
def test_redirect__to_what_is_no_address_is_unsupported(tmp_path: Path, server: HostileServer, location: str) -> None:
    server.add("/away.mp4", hostile.redirect(location))
    with SiteClient(config(allowed_private_hosts=["127.0.0.1"])) as client:
        assert refusal(client, server.url("/away.mp4"), tmp_path).kind is VideoErrorKind.UNSUPPORTED


def test_segments__credentials_of_a_playlist_stay_with_its_host(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DM_PW", "pass-word-123")
    with hostile.hostile_server("127.0.0.2") as other:
        segment = other.add("/{env:DM_PW}.ts", hostile.whole_file(b"G" * 188))
        other.add("/%7Benv:DM_PW%7D.ts", hostile.whole_file(b"G" * 188))
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{segment}\n#EXT-X-ENDLIST\n"
        address = server.add("/list.m3u8", hostile.page(playlist, "application/vnd.apple.mpegurl"))
        with SiteClient(config(allowed_private_hosts=["127.0.0.1", "127.0.0.2"])) as client:
            fetch(client, address.replace("//", "//me:{env:DM_PW}@"), tmp_path)
        assert other.requests
        for request in other.requests:
            assert "pass-word-123" not in request.path
            assert not {"Authorization", "Cookie"} & request.headers.keys()
            assert "pass-word-123" not in str(request.headers)
