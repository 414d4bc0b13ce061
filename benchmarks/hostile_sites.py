"""List and download malicious pages, feeds, manifests and responses, each beside a valid file.

    python -m benchmarks.hostile_sites [--json] [--quick]

The correct result is a video or a reason, and in each case the valid file. A fault is a dead worker, a case that takes
longer than its limits, an exception (including one that became a stored `internal_error`), a case with neither a video
nor a message, the loss of the valid file, or a leak: a secret from the environment in a request, in a log or under the
root, a request to a host that is not allowed, or a control character in the catalog.
"""

import argparse
import gzip
import html
import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import Answer, HostileServer
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.small_videos import make_video

FAULTS: Final = ("crashes", "hangs", "tracebacks", "silent empties", "sound file lost", "leaks")
SECRET: Final = "hf_5EC12E7"
VARIABLE: Final = "HOSTILE_SITES_TOKEN"
ELSEWHERE: Final = "127.0.0.9"
LIMITS: Final = {"max_cpu_seconds": 2, "max_memory_bytes": 400 << 20}
WALL_SECONDS: Final = 20
CASE_SECONDS: Final = 120
"""The time limit of a case in seconds: enough for two processes on a machine that also does other work."""


@dataclass(frozen=True, slots=True)
class Case:
    """A hostile response. If `is_feed` is set, the response itself names the valid file."""

    name: str
    answer: Answer
    is_feed: bool = False


def _feed(base: str, title: str, link: str) -> Answer:
    items = (("good", f"{base}/good.mp4"), (title, link))
    body = "".join(f"<item><title>{said}</title><link>{html.escape(url)}</link></item>" for said, url in items)
    content = (
        f"<?xml version='1.0' encoding='utf-8'?><rss version='2.0'><channel><title>f</title>{body}</channel></rss>"
    )
    return _bytes(content.encode("utf-8", "surrogatepass"), "application/rss+xml")


def _bytes(content: bytes, kind: str, **headers: str) -> Answer:
    def answer(exchange: hostile.Exchange) -> None:
        exchange.start(200, len(content), kind, **headers)
        exchange.body(content)

    return answer


def _described(base: str, **said: Any) -> str:
    video = {"@context": "https://schema.org", "@type": "VideoObject", "name": "n", "contentUrl": f"{base}/c.mp4"}
    return json.dumps({**video, "uploadDate": "2020-01-01", **said})


def _page(words: str) -> Answer:
    return hostile.page(f"<html><head><script type='application/ld+json'>{words}</script></head></html>")


def _of_links(base: str) -> Iterator[Case]:
    links = {
        "variable": f"{base}/v.mp4?k={{env:{VARIABLE}}}",
        "variable in path": f"{base}/{{env:{VARIABLE}}}/v.mp4",
        "variable in host": f"http://{{env:{VARIABLE}}}.test/v.mp4",
        "path": "/etc/passwd",
        "home": "~/v.mp4",
        "file": "file:///etc/passwd",
        "elsewhere": f"http://{ELSEWHERE}:1/v.mp4",
        "away": f"{base}/away.mp4",
        "port": "http://127.0.0.1:999999/v.mp4",
        "no port": "http://127.0.0.1:12a/v.mp4",
        "bracket": "http://[::1/v.mp4",
        "no host": "http:///v.mp4",
        "long": f"{base}/{'a' * 300_000}.mp4",
        "many hyphens": f"{base}/{'x-' * 900}.mp4",
        "script": "javascript:alert(1)",
        "data": "data:video/mp4;base64,AAAA",
        "rtmp": f"rtmp://{ELSEWHERE}/v",
        "websocket": f"ws://{ELSEWHERE}/v",
        "user": f"http://127.0.0.1@{ELSEWHERE}/v.mp4",
        "decimal": "http://2130706441/v.mp4",
        "relative": "../v.mp4",
        "password": f"{base.replace('//', '//me:pass@')}/c.mp4",
        "empty": "",
        "spaces": "   ",
        "format": f"{base}/%(title)s.mp4",
        "words": "not an address at all",
    }
    for name, link in links.items():
        yield Case(f"link: {name}", _feed(base, "x", link), is_feed=True)


def _of_titles(base: str) -> Iterator[Case]:
    titles = {
        "escape": "&#x9b;31m\u009b2J",
        "bidi": "\u202egpj.exe",
        "markup": html.escape("</title><script>alert(1)</script>"),
        "rich": "[/red][bold]x",
        "formula": "=HYPERLINK(1)",
        "variable": f"{{env:{VARIABLE}}}",
        "template": "%(title)s/../../x",
        "path": "../../../../etc/passwd",
        "long": "x" * 500_000,
        "lone surrogate": "\ud800",
        "entity": "&undefined;",
        "invisible": "\ufeff\u200b\u2060",
        "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 500,
        "tags": " ".join(f"#tag{number}" for number in range(20_000)),
        "null": "&#0;",
        "no markup": "a & b < c",
    }
    for name, title in titles.items():
        yield Case(f"title: {name}", _feed(base, title, f"{base}/c.mp4"), is_feed=True)


def _of_descriptions(base: str) -> Iterator[Case]:
    values: dict[str, Any] = {
        "name is an object": {"name": {"a": 1}},
        "name is a list": {"name": [1, None]},
        "escape": {"name": "\x1b]0;x\x07\x1b[2J"},
        "lone surrogate": {"name": "x\ud800y"},
        "null": {"name": "x\x00y"},
        "huge size": {"width": 10**30, "height": 10**30},
        "negative size": {"width": -1, "height": -1},
        "long duration": {"duration": "P99999999999999999999999D"},
        "duration is an object": {"duration": {}},
        "many views": {"interactionStatistic": {"interactionType": "WatchAction", "userInteractionCount": 10**400}},
        "tags": {"keywords": {"a": 1}},
        "local thumbnail": {"thumbnailUrl": "/etc/passwd"},
        "thumbnail elsewhere": {"thumbnailUrl": f"http://{ELSEWHERE}:1/t.png"},
        "content is a list": {"contentUrl": [f"http://{ELSEWHERE}:1/v.mp4"]},
        "content elsewhere": {"contentUrl": f"http://{ELSEWHERE}:1/v.mp4"},
        "content is a path": {"contentUrl": "/etc/passwd"},
        "content is a file": {"contentUrl": "file:///etc/passwd"},
        "content holds a variable": {"contentUrl": f"{base}/c.mp4?k={{env:{VARIABLE}}}"},
        "date": {"uploadDate": "99999-99-99"},
        "description": {"description": "a " * 1_000_000},
    }
    for name, said in values.items():
        yield Case(f"said: {name}", _page(_described(base, **said)))
    for name, number in (("infinite", "1e999"), ("not a number", "NaN")):
        yield Case(f"said: {name} height", _page(_described(base, height="X").replace('"X"', number)))


def _of_markup() -> Iterator[Case]:
    tags = (
        "<video ",
        "<meta ",
        "<script ",
        "<iframe src='",
        "<link ",
        "<object ",
        "jwplayer(",
        "<div data-",
        "<a href='",
    )
    for tag in tags:
        yield Case(f"repeated: {tag.strip()}", hostile.page("<html>" + tag * (200_000 // len(tag))))
    yield Case("nested elements", hostile.page("<div>" * 100_000))
    yield Case("nested words", _page("[" * 100_000))


def _of_manifests(base: str) -> Iterator[Case]:
    def dash(inner: str, head: str = "") -> Answer:
        mpd = f'{head}<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT9H"><Period>'
        return hostile.page(f"{mpd}{inner}</Period></MPD>", "application/dash+xml")

    def template(duration: str, media: str = "$Number$.m4s") -> str:
        return (
            f'<AdaptationSet mimeType="video/mp4"><SegmentTemplate timescale="1000000000" duration="{duration}" '
            f'media="{media}"/><Representation id="v" bandwidth="1" width="16" height="16"/></AdaptationSet>'
        )

    def hls(words: str) -> Answer:
        return hostile.page(f"#EXTM3U\n{words}\n", "application/vnd.apple.mpegurl")

    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    yield Case("dash: endless", dash(template("1")))
    yield Case("dash: zero", dash(template("0")))
    yield Case("dash: negative", dash(template("-5")))
    yield Case("dash: elsewhere", dash(template("99999999999999", f"http://{ELSEWHERE}:1/$Number$.m4s")))
    yield Case("dash: entities", dash("&e11;", f'<!DOCTYPE m [<!ENTITY e0 "x">{entities}]>'))
    yield Case("dash: external", dash("&x;", '<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]>'))
    yield Case("hls: elsewhere", hls(f"#EXTINF:1,\nhttp://{ELSEWHERE}:1/s.ts\n#EXT-X-ENDLIST"))
    yield Case("hls: file", hls("#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST"))
    yield Case(
        "hls: key elsewhere", hls(f'#EXT-X-KEY:METHOD=AES-128,URI="http://{ELSEWHERE}:1/k"\n#EXTINF:1,\n{base}/c.mp4')
    )
    yield Case("hls: size", hls(f"#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=1x{'9' * 30}\n{base}/x.m3u8"))
    yield Case("hls: itself", hls(f"#EXT-X-STREAM-INF:BANDWIDTH=1\n{base}/case"))
    yield Case("hls: many", hls("#EXTINF:1,\nx.ts\n" * 100_000))


def _of_answers(base: str) -> Iterator[Case]:
    yield Case("bomb", _bytes(gzip.compress(bytes(200 << 20)), "text/html", Content_Encoding="gzip"))
    yield Case("no gzip", _bytes(b"plain", "text/html", Content_Encoding="gzip"))
    yield Case("loop", hostile.redirect(f"{base}/case"))
    yield Case("to a file", hostile.redirect("file:///etc/passwd"))
    yield Case("elsewhere", hostile.redirect(f"http://{ELSEWHERE}:1/x"))
    yield Case("cut off", hostile.cut_off(b"<html>" * 1000, 0.5))
    yield Case("wrong length", hostile.wrong_length(b"<html>" * 100, 10**9))
    yield Case("nothing", _bytes(b"", "text/html"))
    yield Case("noise", _bytes(bytes(range(256)) * 400, "text/html"))
    yield Case("no charset", _bytes(b"<html>\xff\xfe", "text/html; charset=nonsense"))
    yield Case("not a video", _bytes(b"\0\0\0\x20ftypisom" + bytes(5000), "video/mp4"))
    yield Case("500", hostile.status(500))
    yield Case("404", hostile.status(404))


def cases(base: str) -> list[Case]:
    """Return all cases for the server with the address `base`."""
    return [
        *_of_links(base),
        *_of_titles(base),
        *_of_descriptions(base),
        *_of_markup(),
        *_of_manifests(base),
        *_of_answers(base),
    ]


class _Heard(logging.Handler):
    """A handler that keeps log records."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.num_traces = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"{record.getMessage()}\n"
        self.num_traces += record.exc_info is not None


def _try(platform: Platform, server: HostileServer, number: int, case: Case) -> set[str]:
    """Return the faults of one case."""
    url = server.add("/case", case.answer)
    sources = (
        [{"type": "feeds", "urls": [url]}]
        if case.is_feed
        else [{"type": "urls", "urls": [server.url("/good.mp4"), url]}]
    )
    project = add_project(platform, sources, name=f"case{number}")
    began, faults = time.monotonic(), set[str]()
    try:
        listed = list_sources(platform, project)
        members = [
            row for row in find_members(platform.database, project) if row.status is not ProjectVideoStatus.REJECTED
        ]
        outcomes = {o.video_key: o for o in download_videos(platform, [member.video_key for member in members])}
    except ConfigError as error:
        # A feed that is not XML has no entries, so listing it fails.
        return set() if case.is_feed and "no source of project" in str(error) else {"sound file lost"}
    except Exception as error:  # noqa: BLE001 - counted
        print(f"{case.name}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
        return {"tracebacks"}
    said = [str(value) for value in listed.metadata.values()]
    good = find_videos(platform.database, project=project)
    if not any(row.url == server.url("/good.mp4") and row.sha256 for row in good):
        faults.add("sound file lost")
    if not said and len(find_members(platform.database, project)) < (1 if case.is_feed else 2):
        faults.add("silent empties")  # a feed's item without an address does not count
    with_file = {row.key for row in find_videos(platform.database, list(outcomes)) if row.sha256 is not None}
    if any(not outcome.message and key not in with_file for key, outcome in outcomes.items()):
        faults.add("silent empties")
    kinds = {outcome.error_kind for outcome in outcomes.values()}
    if VideoErrorKind.CRASHED in kinds or any("the process that" in words for words in said):
        faults.add("crashes")
    if VideoErrorKind.INTERNAL_ERROR in kinds or any("internal error" in words for words in said):
        faults.add("tracebacks")
    if time.monotonic() - began > CASE_SECONDS:
        faults.add("hangs")
    if faults:
        print(f"{case.name}: {sorted(faults)} {said} {list(outcomes.values())}"[:600], file=sys.stderr)
    return faults


def _leaks(server: HostileServer, other: HostileServer, platform: Platform, heard: _Heard) -> int:
    requests = "".join(f"{request.path} {request.headers}" for request in server.requests)
    platform.database.dispose()
    kept = b"".join(path.read_bytes() for path in platform.root.rglob("*") if path.is_file())
    titles = "".join(f"{row.title}{row.error}" for row in find_videos(platform.database))
    platform.database.dispose()
    return (
        (SECRET in requests)
        + (SECRET.encode() in kept)
        + (SECRET in heard.text)
        + other.count()
        + any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in titles)
    )


def try_sites(folder: Path, *, every: int = 1, report: Callable[[str], None] = lambda _name: None) -> Counter[str]:
    """Return the number of times that each fault occurred, and the number of cases under `cases`."""
    folder.mkdir(parents=True, exist_ok=True)
    tally, heard = Counter[str](dict.fromkeys(FAULTS, 0)), _Heard()
    clip = make_video(folder / "clip.mp4", num_frames=40).read_bytes()
    logging.getLogger("data_miner_dagster").addHandler(heard)
    try:
        with (
            patch.dict(os.environ, {VARIABLE: SECRET}),
            hostile.hostile_server() as server,
            hostile.hostile_server(ELSEWHERE) as other,
        ):
            for name in ("/good.mp4", "/c.mp4"):
                server.add(name, hostile.whole_file(clip))
            server.add("/away.mp4", hostile.redirect(other.url("/v.mp4")))
            platform = make_platform(
                folder / "root",
                limits=LIMITS,
                max_wall_seconds=WALL_SECONDS,
                tries_per_run=1,
                breaker={"open_seconds": 0.01, "max_open_seconds": 0.01},
            )
            for number, case in enumerate(cases(server.url(""))[::every]):
                report(case.name)
                tally["cases"] += 1
                tally.update(_try(platform, server, number, case))
            tally["tracebacks"] += heard.num_traces
            tally["leaks"] = _leaks(server, other, platform, heard)
    finally:
        logging.getLogger("data_miner_dagster").removeHandler(heard)
    return tally


def main() -> int:
    """Try all cases and print the faults. Return 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = try_sites(Path(folder), every=10 if options.quick else 1)
    figures = {"num_cases": tally["cases"], **{f"faults: {fault}": tally[fault] for fault in FAULTS}}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, count in figures.items():
            print(f"{count:6} {name}")
    return int(any(tally[fault] for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
