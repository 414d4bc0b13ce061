"""Which addresses may be connected to."""

import socket

import pytest

from data_miner_dagster.sites.addresses import (
    AddressRefusedError,
    checked_addresses,
    connect_checked,
)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1"])
def test_checked_addresses__loopback_in_any_spelling_is_refused(host: str) -> None:
    with pytest.raises(AddressRefusedError, match="not a public address"):
        checked_addresses(host, 80, ())


def test_checked_addresses__allowed_host_is_that_host_alone() -> None:
    assert checked_addresses("127.0.0.1", 80, ("127.0.0.1",))[0][1] == ("127.0.0.1", 80)
    with pytest.raises(AddressRefusedError):
        checked_addresses("127.0.0.2", 80, ("127.0.0.1",))


def test_connect_checked__connects_to_the_address_it_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve a name only once, because a second answer could differ (DNS rebinding)."""
    asked: list[str] = []

    def resolver(host: str, port: int, *_: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        with connect_checked("allowed.test", server.getsockname()[1], 5, ("allowed.test",)) as connection:
            assert connection.getpeername() == server.getsockname()
        with pytest.raises(AddressRefusedError):
            connect_checked("rebound.test", server.getsockname()[1], 5, ("allowed.test",))
    assert asked == ["allowed.test", "rebound.test"]


def test_checked_addresses__one_private_among_public_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolver(_host: str, port: int, *_: object) -> list[object]:
        return [(socket.AF_INET, 1, 6, "", (ip, port)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with pytest.raises(AddressRefusedError, match=r"10\.0\.0\.1"):
        checked_addresses("mixed.test", 80, ())
