"""Test which requests the web server allows, and from whom."""

import asyncio
import urllib.parse
from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest

from data_miner_dagster.web.guard import Guard, changes_something, host_name

MUTATION = 'mutation{setConcurrencyLimit(concurrencyKey:"download",limit:77)}'
JSON = {"content-type": "application/json"}


async def _app(scope: MutableMapping[str, Any], _receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"passed on"})


def ask(
    method: str,
    path: str,
    headers: Mapping[str, str],
    *,
    hosts: tuple[str, ...] = (),
    server: tuple[str, int] = ("127.0.0.1", 3000),
) -> list[dict[str, Any]]:
    """Return the messages that answer a request; the method "WS" opens a WebSocket."""
    sent: list[dict[str, Any]] = []
    path, _, query = path.partition("?")
    scope = {
        "type": "websocket" if method == "WS" else "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": server,
    }

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect" if method == "WS" else "http.request"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    asyncio.run(Guard(_app, hosts)(scope, receive, send))
    return sent


def status(*arguments: Any, **options: Any) -> int:
    return int(ask(*arguments, **options)[0]["status"])


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost:3000", "LOCALHOST.:3000", "[::1]:3000", "127.0.0.1"])
def test_guard__loopback_reads_and_changes(host: str) -> None:
    assert status("GET", "/", {"host": host}) == 200
    assert status("POST", "/graphql", {"host": host, **JSON}) == 200  # curl and scripts send no Origin
    assert status("POST", "/graphql", {"host": host, "origin": f"http://{host}", **JSON}) == 200
    assert ask("WS", "/graphql", {"host": host, "origin": f"http://{host}"})[0]["type"] == "websocket.accept"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:3000", "127.0.0.1.evil.example", "", "127.0.0.1@evil", "[::1", "10.1.2.3:3000"],
)
def test_guard__no_name_of_a_stranger(host: str) -> None:
    assert status("GET", "/", {"host": host}) == 421
    assert status("POST", "/graphql", {"host": host, **JSON}) == 421
    assert ask("WS", "/graphql", {"host": host}) == [{"type": "websocket.close", "code": 1008}]


def test_guard__no_host_at_all_and_two_are_refused() -> None:
    assert status("GET", "/", {}) == 421
    assert status("GET", "/", {"host": "localhost", "Host": "evil.example"}) == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost:8080",  # another program on this machine
        "http://127.0.0.1:3000",  # to a browser, the same server under another name is another origin
        "http://localhost:3000.evil.example",
        "null",
        "",
        "file://",
        "chrome-extension://localhost:3000",
    ],
)
def test_guard__no_page_of_another_origin(origin: str) -> None:
    headers = {"host": "localhost:3000", "origin": origin}
    assert status("POST", "/graphql", {**headers, **JSON}) == 403
    assert status("GET", "/graphql?query={a}", headers) == 403
    assert ask("WS", "/graphql", headers) == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/graphql",
    ],
)
def test_guard__what_a_form_can_send_changes_nothing(kind: str) -> None:
    for path in ("/graphql", "/report_asset_materialization/frames"):
        assert status("POST", path, {"host": "localhost", "content-type": kind}) == 415


def test_guard__json_with_a_charset_is_json_and_other_sites_are_told_by_the_browser() -> None:
    headers = {"host": "localhost", "content-type": "Application/JSON; charset=utf-8"}
    assert status("POST", "/graphql", headers) == 200
    assert status("POST", "/graphql", {**headers, "sec-fetch-site": "same-origin"}) == 200
    for site in ("cross-site", "same-site"):
        assert status("POST", "/graphql", {**headers, "sec-fetch-site": site}) == 403


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/prefix/graphql"])
def test_guard__no_mutation_by_get(path: str) -> None:
    headers = {"host": "localhost"}
    assert status("GET", f"{path}?{urllib.parse.urlencode({'query': MUTATION})}", headers) == 405
    both = urllib.parse.urlencode([("query", "{a}"), ("query", MUTATION)])
    assert status("GET", f"{path}?{both}", headers) == 405
    assert status("GET", f"{path}?{urllib.parse.urlencode({'query': '{instance{id}}'})}", headers) == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{a}", False),
        ("query mutation { mutation }", False),
        ("# mutation\n{a}", False),
        (MUTATION, True),
        ("query A {a} mutation B {b}", True),
        (f"fragment f on X {{a}} {MUTATION}", True),
        ("subscription { a }", True),
        ("no graphql at all", False),
        ("{a}" + " " * 200_000 + MUTATION, True),
    ],
)
def test_changes_something(query: str, expected: bool) -> None:
    assert changes_something(query) is expected


def test_guard__a_reverse_proxy_is_named() -> None:
    proxied = {"host": "miner.example.org", "origin": "https://miner.example.org", **JSON}
    assert status("POST", "/graphql", proxied) == 421
    assert status("POST", "/graphql", proxied, hosts=("miner.example.org",)) == 200
    # the proxy uses its own name for the server
    assert status("POST", "/graphql", {**proxied, "host": "127.0.0.1:3000"}, hosts=("Miner.Example.org:443",)) == 200
    assert (
        status("POST", "/graphql", {**proxied, "origin": "https://evil.example"}, hosts=("miner.example.org",)) == 403
    )


def test_guard__bound_to_every_address_it_is_known_by_the_number_it_was_reached_at() -> None:
    reached = {"host": "192.0.2.7:3000", "origin": "http://192.0.2.7:3000", **JSON}
    assert status("POST", "/graphql", reached, hosts=("0.0.0.0",), server=("192.0.2.7", 3000)) == 200
    assert status("POST", "/graphql", {"host": "0.0.0.0:3000", **JSON}, hosts=("0.0.0.0",)) == 421
    assert status("POST", "/graphql", {"host": "evil.example", **JSON}, hosts=("0.0.0.0", "::")) == 421


def test_guard__pages_are_not_framed_and_a_refusal_says_what_to_do() -> None:
    start, _ = ask("GET", "/", {"host": "localhost"})
    assert (b"x-frame-options", b"SAMEORIGIN") in start["headers"]
    _, body = ask("GET", "/", {"host": "evil.example"})
    assert b"platform.web.hosts" in body["body"]


def test_host_name() -> None:
    assert host_name("a.test:80") == "a.test"
    assert host_name("[2001:DB8::1]:80") == "2001:db8::1"
    assert [host_name(text) for text in ("", "a:b", "u@a", "a/b", "a?b")] == [None] * 5


def test_guard__passes_on_what_is_no_request() -> None:
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        return {}

    asyncio.run(Guard(app)({"type": "lifespan"}, nothing, nothing))
    assert seen == ["lifespan"]
