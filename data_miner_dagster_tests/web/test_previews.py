"""Test which files the web server shows, and which it refuses."""

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.web.guard import Guard
from data_miner_dagster.web.previews import Previews

SHEET = "/previews/videos/files-aaa.webp"


async def _app(_scope: MutableMapping[str, Any], _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"passed on"})


@pytest.fixture
def layout(tmp_path: Path) -> StorageLayout:
    layout = StorageLayout(tmp_path)
    preview = layout.video_preview("files-aaa")
    preview.parent.mkdir(parents=True)
    preview.write_bytes(b"a sheet")
    layout.catalog_file.write_bytes(b"a catalog")
    return layout


def ask(layout: StorageLayout, address: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Return the status, body and headers with which the guarded application answers."""
    sent: list[Any] = []
    host = {"host": "127.0.0.1:3000", **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": address,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in host.items()],
        "server": ("127.0.0.1", 3000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(Previews(_app, layout))(scope, receive, send))
    start, body = sent
    return start["status"], body["body"], {name.decode(): value.decode() for name, value in start["headers"]}


def test_previews__a_picture_is_shown_as_a_picture(layout: StorageLayout) -> None:
    status, body, headers = ask(layout, SHEET)
    assert (status, body, headers["content-type"]) == (200, b"a sheet", "image/webp")
    assert headers["x-content-type-options"] == "nosniff"
    status, body, headers = ask(layout, SHEET, "HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", "7")


def test_previews__what_is_no_preview_is_dagsters(layout: StorageLayout) -> None:
    assert ask(layout, "/assets/frames")[:2] == (200, b"passed on")
    assert ask(layout, "/previews")[:2] == (200, b"passed on")


def test_previews__who_may_not_ask_gets_nothing(layout: StorageLayout) -> None:
    assert ask(layout, SHEET, host="evil.test")[0] == 421
    assert ask(layout, SHEET, origin="https://evil.test")[0] == 403


@pytest.mark.parametrize(
    "address", ["/previews/videos/files-zzz.webp", "/previews/videos/../../catalog.sqlite", "/previews/"]
)
def test_previews__nothing_else_is_shown(layout: StorageLayout, address: str) -> None:
    assert ask(layout, address)[:2] == (404, b"there is no preview at this address\n")


def test_previews__no_change_is_made(layout: StorageLayout) -> None:
    assert ask(layout, SHEET, "POST", **{"content-type": "application/json"})[0] == 404


def test_previews__a_link_or_folder_in_place_of_a_file_is_not_followed(layout: StorageLayout) -> None:
    layout.video_preview("files-bbb").symlink_to(layout.catalog_file)
    layout.video_preview("files-ccc").mkdir()
    assert [ask(layout, f"/previews/videos/files-{key}.webp")[0] for key in ("bbb", "ccc")] == [404, 404]
