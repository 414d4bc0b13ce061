"""A project for a collection, as a user would write it: folders, files, addresses, a feed, folders of pictures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import yaml

from data_miner_dagster_tests.oracle import FilterRules
from data_miner_dagster_tests.real_size.collection import Clip, Place
from data_miner_dagster_tests.sites.hostile_server import HostileServer, hostile_server, page, whole_file

EVERY_SECONDS: Final = 0.5
FILTERING: Final[Mapping[str, Any]] = {
    "positive": ["a photo of a street", {"text": "an abstract painting", "threshold": 0.06}],
    "negative": [{"text": "a bicycle", "margin": -0.15}, {"text": "a person in a car", "threshold": 0.5}],
    "junk": [{"text": "a blank wall", "margin": 0.02}],
    "positive_threshold": 0.04,
    "junk_threshold": 0.1,
    "min_gap_seconds": 0.6,
    "max_frames_per_video": 3,
}
RULES: Final = FilterRules(
    positive={"a photo of a street": 0.04, "an abstract painting": 0.06},
    negative={"a bicycle": (None, -0.15), "a person in a car": (0.5, 0.0)},
    junk={"a blank wall": (0.1, 0.02)},
    min_gap_seconds=0.6,
    max_frames_per_video=3,
)
"""The rules in `FILTERING`, for the oracle."""
DUPLICATE_THRESHOLD: Final = 0.97
SHARES: Final = {"train": 0.6, "test": 0.2, "val": 0.2}
CONFIDENCE: Final = 0.3


def project_content(name: str, clips: Sequence[Clip], folder: Path, server: HostileServer) -> dict[str, object]:
    """Return the content of a project file for these clips, with paths relative to the collection's folder."""
    of_place: dict[Place, list[Clip]] = {place: [clip for clip in clips if clip.place is place] for place in Place}
    parents = sorted({str(clip.path.parent.relative_to(folder)) for clip in of_place[Place.FOLDER]})
    named = [str(clip.path.relative_to(folder)) for clip in of_place[Place.NAMED]]
    sources = [
        {"type": "files", "paths": [*parents, *named]},
        {"type": "urls", "urls": [server.url(clip.route) for clip in of_place[Place.URL]]},
        {"type": "feeds", "urls": [server.url(f"/{name}.xml")]},
        {"type": "frames", "folders": ["pictures"]},
    ]
    server.add(f"/{name}.xml", page(_feed(of_place[Place.FEED], server), "application/rss+xml"))
    return {
        "name": name,
        "sourcing": {"sources": sources},
        "filtering": dict(FILTERING),
        "deduplication": {"threshold": DUPLICATE_THRESHOLD},
        "detection": {"classes": {"person": [], "bicycle": [], "car": ["car", "bus"]}},
        "releasing": {"splits": dict(SHARES), "confidence_threshold": CONFIDENCE, "unsure": "as_negative"},
        "platform": {
            "models": {"profile": "lite"},
            "extraction": {"strategy": "time", "every_seconds": EVERY_SECONDS},
            "downloading": {"allowed_private_hosts": ["127.0.0.1"], "tries_per_run": 2, "try_delay_seconds": 0.05},
        },
    }


def _feed(clips: Sequence[Clip], server: HostileServer) -> str:
    items = [
        f"<item><title>Clip {clip.number}</title><guid>{clip.number}</guid>"
        f"<enclosure url={quoteattr(server.url(clip.route))} type='video/mp4' length='1'/></item>"
        for clip in clips
    ]
    return f"<?xml version='1.0'?><rss version='2.0'><channel><title>Clips</title>{''.join(items)}</channel></rss>"


def absolute(content: dict[str, object], folder: Path) -> dict[str, object]:
    """Make the paths in a project file's sources absolute, in place, and return the project file's content."""
    for source in content["sourcing"]["sources"]:  # type: ignore[index]
        for name in ("paths", "folders"):
            if name in source:
                source[name] = [str(folder / entry) for entry in source[name]]
    return content


def write_project(path: Path, content: Mapping[str, object]) -> Path:
    """Write a project file."""
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


@contextmanager
def serving(clips: Sequence[Clip]) -> Iterator[HostileServer]:
    """Serve the clips that are fetched over HTTP, bad responses included."""
    with hostile_server() as server:
        for clip in clips:
            if clip.place.is_served and clip.answer is not None:
                server.add(clip.route, clip.answer)
            for route, content in clip.parts.items():
                server.add(route, whole_file(content, "application/octet-stream"))
        yield server
