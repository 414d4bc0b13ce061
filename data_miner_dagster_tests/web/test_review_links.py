"""Test that links in events lead to the review pages of the `data-miner up` that shows them."""

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.assets.previews import sourcing_metadata, video_metadata
from data_miner_dagster.config.web import WebConfig, review_address
from data_miner_dagster.web.guard import Guard
from data_miner_dagster.web.review_links import ReviewLinks
from data_miner_dagster_tests.support.sample_project import build_project


async def _app(_scope: MutableMapping[str, Any], _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"passed on"})


def ask(path: str, *, method: str = "GET", host: str = "127.0.0.1:3000") -> tuple[int, str | None]:
    """Return the status and the location with which the guarded application answers."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"host", host.encode()), (b"content-type", b"application/json")],
        "server": ("127.0.0.1", 3000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(ReviewLinks(_app, review_address(WebConfig())))(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]).get(b"location", b"").decode() or None


def test_review_links__what_an_event_has_leads_to_the_port_of_the_present_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = [
        str(sourcing_metadata(build_project(tmp_path), "cyclists")["review"].value),
        str(video_metadata("files-aaa")["review"].value),
    ]
    pages = ["/projects/cyclists", "/videos/files-aaa"]
    assert [ask(link) for link in links] == [(302, f"http://127.0.0.1:3001{page}") for page in pages]
    monkeypatch.setenv("DATA_MINER_REVIEW_PORT", "3777")  # as `data-miner up --review-port 3777` sets it
    assert [ask(link) for link in links] == [(302, f"http://127.0.0.1:3777{page}") for page in pages]
    assert ask(links[0], method="HEAD")[0] == 302


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/review//evil.test/", "http://127.0.0.1:3001//evil.test/"),
        ("/review/@evil.test", "http://127.0.0.1:3001/%40evil.test"),
        ("/review/a\r\nset-cookie: b", "http://127.0.0.1:3001/a%0D%0Aset-cookie%3A%20b"),
    ],
)
def test_review_links__lead_nowhere_else(path: str, location: str) -> None:
    assert ask(path) == (302, location)


def test_review_links__other_requests_are_dagsters_or_refused() -> None:
    assert ask("/reviews/x") == ask("/review") == ask("/assets/frames") == (200, None)
    assert ask("/review/projects/x", method="POST") == (405, None)
    assert ask("/review/projects/x", host="evil.test") == (421, None)
