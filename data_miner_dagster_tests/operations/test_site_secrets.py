"""Secrets in the configuration, as the hostile server receives them and in everything that is left behind."""

import os
from pathlib import Path

import pytest

from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster_tests.operations.listed_videos import listed
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.sites.proxies import tunnel_server
from data_miner_dagster_tests.support.local_projects import make_platform

SECRETS = {"COOKIE": "c00kie-5EC12E7", "TOKEN": "t0ken-5EC12E7", "SIGNED": "s1gned-5EC12E7", "PO": "p0-5EC12E7"}


def test_secrets__appear_nowhere_but_at_the_server(
    tmp_path: Path,
    server: HostileServer,
    clip: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Cookies, tokens by reference and signed redirects are used, but neither logged nor stored."""
    caplog.set_level("DEBUG")
    cookie_file = tmp_path / "cookies.txt"
    cookie_file.write_text(
        "# Netscape HTTP Cookie File\n" + "\t".join(("127.0.0.1", "FALSE", "/", "FALSE", "0", "sid", SECRETS["COOKIE"]))
    )
    os.utime(cookie_file, (1, 1))
    monkeypatch.setenv("DATA_MINER_TEST_TOKEN", SECRETS["TOKEN"])
    monkeypatch.setenv("DATA_MINER_TEST_PO", SECRETS["PO"])
    root = tmp_path / "root"
    platform = make_platform(
        root,
        cookies=f"file:{cookie_file}",
        extractor_args={"youtube": {"po_token": ["env:DATA_MINER_TEST_PO"]}},
        tries_per_run=1,
    )
    server.add("/real.mp4", hostile.whole_file(clip))
    server.add("/failing.mp4", hostile.status(500))
    urls = [
        server.add("/signed.mp4", hostile.redirect(server.url(f"/real.mp4?sig={SECRETS['SIGNED']}"))),
        server.add("/broken.mp4", hostile.redirect(server.url(f"/failing.mp4?sig={SECRETS['SIGNED']}"))),
        server.add("/token.mp4", hostile.whole_file(clip)) + "?token={env:DATA_MINER_TEST_TOKEN}",
        server.url("/missing.mp4") + "?token={env:DATA_MINER_TEST_TOKEN}",
    ]
    outcomes = download_videos(platform, listed(platform, urls))
    assert [outcome.status.value for outcome in outcomes] == ["done", "failed", "done", "unavailable"]

    at_server = "".join(request.path + str(request.headers) for request in server.requests)
    for name in ("COOKIE", "TOKEN", "SIGNED"):
        assert SECRETS[name] in at_server, name  # otherwise the test would prove nothing
    platform.database.dispose()
    kept = b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())
    shown = caplog.text + repr(outcomes)
    for secret in SECRETS.values():
        assert secret.encode() not in kept
        assert secret not in shown
    assert cookie_file.stat().st_mtime == 1  # the user's file is not overwritten


def test_secrets__of_a_proxy_appear_nowhere(
    tmp_path: Path,
    server: HostileServer,
    clip: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    server.add("/a.mp4", hostile.whole_file(clip))
    root, credentials = tmp_path / "root", f"me:{SECRETS['TOKEN']}"
    with tunnel_server(("127.0.0.1", server.server_address[1]), credentials) as tunnel:
        monkeypatch.setenv("DATA_MINER_TEST_PROXY", tunnel.url("socks5h"))
        platform = make_platform(
            root, proxy="env:DATA_MINER_TEST_PROXY", allowed_private_hosts=("198.51.100.7",), tries_per_run=1
        )
        keys = listed(platform, ["http://198.51.100.7/a.mp4", "http://198.51.100.7/b.mp4"])
        outcomes = download_videos(platform, keys[:1])
        tunnel.credentials = "nobody:nothing"
        outcomes += download_videos(platform, keys[1:])
    assert [outcome.status.value for outcome in outcomes] == ["done", "failed"]
    assert server.count() == 1
    platform.database.dispose()
    kept = b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())
    assert SECRETS["TOKEN"].encode() not in kept
    assert SECRETS["TOKEN"] not in caplog.text + repr(outcomes)
