"""Limits on what yt-dlp may load, run and fetch."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError, Popen

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import OwnAddress
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.sites.client import SiteClient
from data_miner_dagster.sites.yt_dlp_limits import served_formats
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install

_MAKE_ONE = """
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.sites.guarded_ydl import GuardedYoutubeDL
GuardedYoutubeDL(DownloadingConfig()).close()
"""


def test_plugins__none_is_loaded(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for place in (".config/yt-dlp/plugins/evil", "yt-dlp-plugins/evil", "path"):
        folder = tmp_path / place / "yt_dlp_plugins" / "extractor"
        folder.mkdir(parents=True)
        (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    environment = {key: value for key, value in os.environ.items() if key != "XDG_CONFIG_HOME"}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": f"{tmp_path / 'path'}:{environment.get('PYTHONPATH', '.')}"}
    subprocess.run([sys.executable, "-c", _MAKE_ONE], env=environment, check=True)
    assert not ran.exists()


@pytest.mark.parametrize("command", [["rtmpdump", "-h"], ["/usr/bin/ffmpeg"], ["phantomjs", "x"], "deno; true"])
def test_programs__none_is_run_but_deno(command: object) -> None:
    with pytest.raises(FileNotFoundError, match="data-miner does not run this program"):
        Popen(command)


def test_programs__deno_is_run(tmp_path: Path) -> None:
    deno = tmp_path / "deno"
    deno.write_text("#!/bin/sh\necho 2.0\n")
    deno.chmod(0o755)
    assert Popen.run([str(deno)], stdout=subprocess.PIPE, text=True)[0] == "2.0\n"


def test_served_formats() -> None:
    forms: list[Mapping[str, Any]] = [
        {"url": "rtmp://a.test/live"},
        {"url": "https://a.test/v.mp4"},
        {"url": "ws://a.test/v"},
        {"url": "https://a.test/v", "protocol": "niconico_live"},
        {"url": "http://[::1/v"},
        {"url": "https://a.test/v.m3u8"},
        {},
    ]
    assert served_formats({"id": "a", "formats": forms})["formats"] == [forms[1], forms[5]]
    assert served_formats({"id": "a"}) == {"id": "a"}
    with pytest.raises(ExtractorError, match=r"only over unsupported protocols \(niconico_live, rtmp\)"):
        served_formats({"id": "a", "formats": [forms[0], forms[3]]})
    with pytest.raises(ExtractorError, match=r"only over unsupported protocols \(mms\)"):
        served_formats({"id": "a", "url": "mms://a.test/v"})


def test_fetch__rtmp_is_unsupported_and_runs_no_rtmpdump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "rtmpdump"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    class SomeIE(InfoExtractor):  # type: ignore[misc]
        _VALID_URL = r"https?://127\.0\.0\.1:\d+/watch/(?P<id>\w+)"

        def _real_extract(self, url: str) -> Mapping[str, Any]:
            return {"id": self._match_id(url), "title": "a", "url": "rtmp://127.0.0.1:1935/live/v.mp4", "ext": "flv"}

    with hostile.hostile_server() as server:
        config = DownloadingConfig(allowed_private_hosts=("127.0.0.1",))
        page = server.add(
            "/page", hostile.page("<title>x</title><video src='rtmp://127.0.0.1:1935/live/v.mp4'></video>")
        )
        with SiteClient(config) as client:
            install(client, SomeIE)
            for key, url in (("some-a", server.url("/watch/a")), ("generic-page.0", page)):
                with pytest.raises(VideoPermanentError) as refused:
                    client.fetch(key, OwnAddress(url), tmp_path, found_at=utc_now())
                assert refused.value.kind is VideoErrorKind.UNSUPPORTED
    assert not (tmp_path / "ran").exists()
