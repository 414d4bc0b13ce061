"""The site client with the real yt-dlp and local servers: formats, errors, and the hint about a missing runtime."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import OwnAddress
from data_miner_dagster.domain.errors import ConfigError, SourceError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.sites.client import SiteClient
from data_miner_dagster.sites.guarded_ydl import options_of
from data_miner_dagster.sites.metadata import candidate_of
from data_miner_dagster.sites.records import FetchedVideo
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install
from data_miner_dagster_tests.sites.hostile_server import HostileServer


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile.hostile_server() as running:
        yield running


def config(**values: object) -> DownloadingConfig:
    return DownloadingConfig.model_validate({"allowed_private_hosts": ["127.0.0.1"], **values})


def fetch(client: SiteClient, key: str, url: str, folder: Path) -> FetchedVideo:
    return client.fetch(key, OwnAddress(url), folder, found_at=utc_now())


def offered(server: HostileServer, *formats: tuple[str, int, str, int]) -> list[dict[str, Any]]:
    """Return formats from (id, height, codec, bit rate), each served with different bytes."""
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
    assert fetched.path == tmp_path / "video.mp4"  # regardless of its title
    assert fetched.path.read_text() == expected
    assert fetched.candidate.licence == "CC BY"
    assert len(extractions) == 1
    assert [request.path for request in server.requests] == [f"/{expected}.mp4"]


@pytest.mark.parametrize(("include_audio", "expected"), [(False, "silent"), (True, "both")])
def test_fetch__sound_only_if_it_is_asked_for(
    tmp_path: Path, server: HostileServer, include_audio: bool, expected: str
) -> None:
    silent, both, sound = offered(
        server, ("silent", 720, "avc1.4d401f", 900), ("both", 720, "avc1.4d401f", 1000), ("sound", 0, "none", 100)
    )
    both["acodec"] = sound["acodec"] = "mp4a.40.2"
    formats = [silent, both, {**sound, "height": None, "width": None}]

    class SomeIE(InfoExtractor):  # type: ignore[misc]
        _VALID_URL = r"https?://127\.0\.0\.1:\d+/watch/(?P<id>\w+)"

        def _real_extract(self, url: str) -> Mapping[str, Any]:
            return {"id": self._match_id(url), "title": "a", "formats": formats}

    with SiteClient(config(include_audio=include_audio)) as client:
        install(client, SomeIE)
        assert fetch(client, "some-a", server.url("/watch/a"), tmp_path).format_id == expected
    assert server.count() == 1


@pytest.mark.parametrize("runtime", [None, "/usr/bin/deno"])
def test_fetch__a_missing_javascript_runtime_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str | None
) -> None:
    class YoutubeIE(InfoExtractor):  # type: ignore[misc]
        _VALID_URL = r"https?://(?P<id>youtube)\.test/"

        def _real_extract(self, _url: str) -> Mapping[str, Any]:
            raise ExtractorError("Requested format is not available", expected=True)

    with SiteClient(config()) as client:
        install(client, YoutubeIE)
        monkeypatch.setattr("data_miner_dagster.sites.errors.javascript_runtime", lambda: runtime)
        with pytest.raises(VideoPermanentError) as refused:
            fetch(client, "youtube-abc", "https://youtube.test/", tmp_path)
    assert refused.value.kind is VideoErrorKind.NO_FORMATS
    assert ("pip install 'yt-dlp[default,deno]'" in str(refused.value)) == (runtime is None)


def test_options_of__nothing_of_the_configuration_can_run_or_write() -> None:
    options = options_of(config(extractor_args={"youtube": {"player_client": ["web; rm -rf /"]}}))
    assert not {name for name in options if "post" in name or "exec" in name or "download_archive" in name}
    assert options["external_downloader"] == {"default": "native"}
    assert options["extractor_args"]["youtube"] == {"player_client": ["web; rm -rf /"]}  # passed on as data
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        config(postprocessors=[{"key": "Exec", "exec_cmd": "true"}])


def test_options_of__references_that_lead_nowhere_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for values, what in (
        ({"cookies": f"file:{tmp_path}/binary"}, r"binary cannot be read \(it is not UTF-8 text\), but platform"),
        ({"proxy": f"file:{tmp_path}/binary"}, r"binary cannot be read \(it is not UTF-8 text\), but platform"),
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


def test_options_of__cookies_of_a_browser() -> None:
    options = options_of(config(cookies_from_browser="firefox:work"))
    assert options["cookiesfrombrowser"] == ("firefox", "work", None, None)


@pytest.mark.parametrize("text", ["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:99999/{env:HOME}"])
def test_fetch__a_text_that_nobody_answers_for_is_foreign(tmp_path: Path, text: str) -> None:
    with SiteClient(config()) as client, pytest.raises(VideoPermanentError, match="is not acceptable") as refused:
        client.fetch("generic-a.0", text, tmp_path, found_at=utc_now())
    assert refused.value.kind is VideoErrorKind.POLICY


def test_list_address__a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DM_NOT_THERE", raising=False)
    address = OwnAddress("http://127.0.0.1:9/{env:DM_NOT_THERE}")
    with SiteClient(config()) as client, pytest.raises(ConfigError, match=r"but an address refers to it; set it$"):
        client.list_address(address, source="urls", query="q", found_at=utc_now())


def _feed_of(server: HostileServer, num_items: int) -> OwnAddress:
    items = "".join(
        f"<item><title>{n}</title><enclosure url='{server.url(f'/{n}.mp4')}' type='video/mp4'/></item>"
        for n in range(num_items)
    )
    feed = hostile.page(f"<rss version='2.0'><channel><title>F</title>{items}</channel></rss>", "text/xml")
    return OwnAddress(server.add("/feed", feed))


def test_list_address__an_entry_that_cannot_be_read_stands_for_itself(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described(info: Mapping[str, Any], **named: Any) -> VideoCandidate:
        if str(info["url"]).endswith("/3.mp4"):
            raise ZeroDivisionError("planted")
        return candidate_of(info, **named)

    monkeypatch.setattr("data_miner_dagster.sites.client.candidate_of", described)
    address = _feed_of(server, 5)
    with SiteClient(config()) as client:
        found = client.list_address(address, source="feeds", query="the feed", found_at=utc_now())
    assert [candidate.fault is None for candidate in found] == [True, True, True, False, True]
    assert re.fullmatch(r"ZeroDivisionError: planted \(test_client\.py:\d+\)", found[3].fault or "")
    assert found[3].url == ""


_Ask = Callable[[SiteClient, str, Path], object]
_ASKING: Mapping[str, _Ask] = {
    "a listing": lambda client, url, _: client.list_address(
        OwnAddress(f"{url}feed"), source="feeds", query="the feed", found_at=utc_now()
    ),
    "a page": lambda client, url, folder: fetch(client, "generic-a.0", f"{url}page", folder),
    "a file": lambda client, url, folder: fetch(client, "generic-a.0", f"{url}file.mp4", folder),
    "pictures": lambda client, url, _: client.pictures_of(
        "generic-a.0", OwnAddress(f"{url}page"), with_storyboards=True
    ),
    "a picture": lambda client, url, _: client.fetch_picture("a", f"{url}picture.jpg"),
}
asking = pytest.mark.parametrize("ask", _ASKING.values(), ids=_ASKING.keys())


@asking
@pytest.mark.parametrize(
    ("place", "planted"),
    [  # yt-dlp wraps the first in an unexpected error of the handler, and the second in an error of the request
        ("transport.select_proxy", KeyError("planted")),
        ("public_addresses.normalize_host", ValueError("planted")),
    ],
)
def test_a_bug_of_ours_comes_through_as_it_is(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch, ask: _Ask, place: str, planted: Exception
) -> None:
    def raising(*_arguments: object) -> object:
        raise planted

    monkeypatch.setattr(f"data_miner_dagster.sites.{place}", raising)
    with SiteClient(config()) as client, pytest.raises(type(planted), match="planted") as caught:
        ask(client, server.url("/"), tmp_path)
    assert caught.value is planted


class _BrokenIE(InfoExtractor):  # type: ignore[misc]
    """Imitates an extractor that no longer understands its site."""

    _VALID_URL = r"https?://127\.0\.0\.1:\d+/broken/(?P<id>\w+)"

    def _real_extract(self, url: str) -> Any:
        match self._match_id(url):
            case "KeyError":
                return dict[str, str]()["missing"]
            case "TypeError":
                return len(None)  # type: ignore[arg-type]
        return None


@pytest.mark.parametrize(("what", "kind"), [("KeyError", "unsupported"), ("TypeError", "transient")])
def test_a_bug_of_an_extractor_stays_its_site_s(tmp_path: Path, server: HostileServer, what: str, kind: str) -> None:
    address = server.url(f"/broken/{what}")
    with SiteClient(config()) as client:
        install(client, _BrokenIE)
        with pytest.raises((VideoPermanentError, VideoTransientError)) as refused:
            fetch(client, "broken-x.0", address, tmp_path)
        assert isinstance(refused.value, VideoPermanentError | VideoTransientError)
        assert refused.value.kind.value == kind
        with pytest.raises(SourceError):
            client.list_address(OwnAddress(address), source="urls", query="it", found_at=utc_now())


def _no_gzip(exchange: hostile.Exchange) -> None:
    exchange.start(200, 7, "text/html", Content_Encoding="gzip")
    exchange.body(b"no gzip")


def _no_http(exchange: hostile.Exchange) -> None:
    exchange.body(b"HTTP/9 what?\r\nno: header\r\n\r\n")


@asking
@pytest.mark.parametrize("answer", [_no_gzip, _no_http])
def test_an_answer_that_cannot_be_read_is_its_site_s(
    tmp_path: Path, server: HostileServer, ask: _Ask, answer: hostile.Answer
) -> None:
    for path in ("/feed", "/page", "/file.mp4", "/picture.jpg"):
        server.add(path, answer)
    with (
        SiteClient(config()) as client,
        pytest.raises((SourceError, VideoPermanentError, VideoTransientError)) as refused,
    ):
        ask(client, server.url("/"), tmp_path)
    if answer is _no_gzip:
        assert "the server's answer is not valid gzip (Error -3 " in str(refused.value)


CONTENT = b"\0\0\0\x18ftypmp42" + bytes(5000)


@pytest.mark.parametrize(
    ("route", "facts"),
    [
        ("/file.mp4", (True, True)),
        ("/of-unsaid-length.mp4", (True, False)),
        ("/empty.mp4", (True, True)),
        ("/without-suffix", (True, True)),
        ("/elsewhere.mp4", (True, True)),  # the file's own address redirects
        ("/with-element", (False, True)),
        ("/watch/a", (False, True)),
    ],
)
def test_fetch__tells_files_of_plain_servers_from_what_pages_hand_out(
    tmp_path: Path, server: HostileServer, route: str, facts: tuple[bool, bool]
) -> None:
    class SomeIE(InfoExtractor):  # type: ignore[misc]
        _VALID_URL = r"https?://127\.0\.0\.1:\d+/watch/(?P<id>\w+)"

        def _real_extract(self, url: str) -> Mapping[str, Any]:
            return {"id": self._match_id(url), "title": "a", "url": server.url("/file.mp4"), "ext": "mp4"}

    def of_unsaid_length(exchange: hostile.Exchange) -> None:
        exchange.start(200, None)
        exchange.body(CONTENT)

    server.add("/file.mp4", hostile.whole_file(CONTENT))
    server.add("/of-unsaid-length.mp4", of_unsaid_length)
    server.add("/empty.mp4", hostile.whole_file(b""))
    server.add("/without-suffix", hostile.whole_file(CONTENT))
    server.add("/elsewhere.mp4", hostile.redirect(server.url("/file.mp4")))
    server.add("/with-element", hostile.page(f"<html><video src='{server.url('/file.mp4')}'></video></html>"))
    with SiteClient(config()) as client:
        install(client, SomeIE)
        fetched = fetch(client, "some-a" if "watch" in route else "generic-a", server.url(route), tmp_path)
    assert fetched.path.read_bytes() == (b"" if route == "/empty.mp4" else CONTENT)
    assert (fetched.is_direct, fetched.is_complete) == facts


def test_list_address__pages_alike_on_two_hosts_are_two_videos(server: HostileServer) -> None:
    """The generic extractor belongs to no site, so its ids, which are parts of addresses, do not identify a video."""
    with (
        hostile.hostile_server("127.0.0.2") as other,
        SiteClient(config(allowed_private_hosts=["127.0.0.1", "127.0.0.2"])) as client,
    ):
        keys = []
        for one in (server, other):
            url = one.add("/watch/1", hostile.page("<html><video src='/file.mp4'></video></html>"))
            [found] = client.list_address(OwnAddress(url), source="s", query="q", found_at=utc_now())
            assert found.url == url
            keys.append(found.video_key)
    assert len(set(keys)) == 2
    assert all(key.startswith("generic-1.") for key in keys)
