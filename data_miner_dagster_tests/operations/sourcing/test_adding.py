"""One video is added by hand from an address, as politely as any listing."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.politeness import EVERY_SITE, close_gate
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.adding import BY_HAND, add_video
from data_miner_dagster.sites.local_files import key_of_file
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.small_videos import make_video


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = make_platform(tmp_path / "root")
    add_project(platform, [{"type": "urls", "urls": ["http://127.0.0.1/x.mp4"]}])
    return platform


def feed(server: HostileServer, *names: str) -> str:
    items = "".join(f"<item><enclosure url='{server.url(f'/{name}')}'/></item>" for name in names)
    return server.add("/feed", hostile.page(f"<rss><channel>{items}</channel></rss>", "text/xml"))


def test_add_video__an_address_is_a_member_once_and_can_be_downloaded(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    url = server.add("/a.mp4", hostile.whole_file(make_video(tmp_path / "a.mp4").read_bytes()))
    ((key, is_new),) = add_video(platform, "p", url)
    assert is_new
    assert add_video(platform, "p", url) == [(key, False)]
    assert server.count() == 0  # nothing is requested before the download
    (member,) = find_members(platform.database, "p")
    assert (member.source, member.query) == (BY_HAND, url)
    assert download_videos(platform, [key])[0].status is OutcomeStatus.DONE


def test_add_video__a_file_that_a_fault_meets_keeps_no_other(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key_of(path: Path, sha256_of: Callable[[Path], str]) -> tuple[str, str | None]:
        if path.name == "1.mp4":
            raise ZeroDivisionError("planted")
        return key_of_file(path, sha256_of)

    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(bytes([number]))
    monkeypatch.setattr("data_miner_dagster.operations.sourcing.local_keys.key_of_file", key_of)
    assert len(add_video(platform, "p", str(tmp_path / "*.mp4"))) == 2
    with pytest.raises(ConfigError, match=r"1.mp4 cannot be added .* error: ZeroDivisionError: planted \("):
        add_video(platform, "p", str(tmp_path / "1.mp4"))


def test_add_video__a_page_that_lists_several_adds_them_all(platform: Platform, server: HostileServer) -> None:
    added = add_video(platform, "p", feed(server, "a.mp4", "b.mp4"))
    assert [is_new for _, is_new in added] == [True, True]
    assert server.count() == 1


def test_add_video__an_entry_that_is_no_address_of_the_web_is_passed_over(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    private = make_video(tmp_path / "private.mp4")
    items = f"<item><link>{private}</link></item><item><link>{server.url('/a.mp4')}</link></item>"
    page = server.add("/feed", hostile.page(f"<rss version='2.0'><channel>{items}</channel></rss>", "text/xml"))
    ((key, _),) = add_video(platform, "p", page)
    assert [(row.key, row.url) for row in find_videos(platform.database)] == [(key, server.url("/a.mp4"))]
    items = f"<item><link>{private}</link></item>"
    server.add("/feed", hostile.page(f"<rss version='2.0'><channel>{items}</channel></rss>", "text/xml"))
    with pytest.raises(ConfigError, match=r"no video with a usable address .*the address is neither http nor https"):
        add_video(platform, "p", page)
    assert len(find_videos(platform.database)) == 1


def test_add_video__an_open_breaker_is_one_line_and_no_request(platform: Platform, server: HostileServer) -> None:
    url = feed(server, "a.mp4")
    close_gate(platform.database, EVERY_SITE, utc_now() + timedelta(seconds=60), "x.test answered HTTP 429")
    with pytest.raises(ConfigError, match="HTTP 429; requests resume at"):
        add_video(platform, "p", url)
    assert server.count() == 0
    assert find_members(platform.database, "p") == []


def test_add_video__http_429_opens_the_breaker(platform: Platform, server: HostileServer) -> None:
    url = server.add("/page", hostile.status(429))
    with pytest.raises(ConfigError):
        add_video(platform, "p", url)
    asked = server.count()
    with pytest.raises(ConfigError, match="requests resume at"):
        add_video(platform, "p", url)
    assert server.count() == asked


def test_add_video__a_bot_check_opens_the_breaker(platform: Platform, server: HostileServer) -> None:
    def answer(exchange: hostile.Exchange) -> None:
        exchange.send_response(403, "Sign in to confirm you are not a bot")
        exchange.end_headers()

    url = server.add("/page", answer)
    with pytest.raises(ConfigError):
        add_video(platform, "p", url)
    asked = server.count()
    with pytest.raises(ConfigError, match="requests resume at"):
        add_video(platform, "p", url)
    assert server.count() == asked


def test_add_video__a_private_address_is_refused(tmp_path: Path, server: HostileServer) -> None:
    platform = make_platform(tmp_path, allowed_private_hosts=())
    add_project(platform, [{"type": "urls", "urls": ["http://127.0.0.1/x.mp4"]}])
    with pytest.raises(ConfigError, match="allowed_private_hosts"):
        add_video(platform, "p", feed(server, "a.mp4"))
    assert server.count() == 0


@pytest.mark.parametrize("address", ["/a.mp4?token=5EC12E7x", "/feed"])
def test_add_video__a_secret_in_plain_is_refused_and_not_repeated(
    platform: Platform, server: HostileServer, address: str
) -> None:
    feed(server, "a.mp4?X-Amz-Signature=5EC12E7x")
    with pytest.raises(ConfigError) as refused:
        add_video(platform, "p", server.url(address))
    assert "5EC12E7x" not in str(refused.value)
    assert ("{env:NAME}" in str(refused.value)) == ("token" in address)
    assert find_members(platform.database, "p") == []
