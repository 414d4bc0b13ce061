"""Run a project under a quota of a tenth of its videos' bytes, beside the same project without one.

    python -m benchmarks.room [--videos 100] [--json]

The videos are noise (6 MB each, much larger than their frames: the quota has to hold Dagster's storage and the catalog
as well), half of them on a loopback server, the others local files. `data-miner run` fills both roots, and the size of
the limited one is measured continuously; then `run` is repeated there. The exit status is 1 if a project is not
complete, if the root ever exceeded the quota by more than one video, if the second run downloaded a video, or if the
two releases differ in a byte.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster_tests.end_to_end.commands import data_miner, digests
from data_miner_dagster_tests.sites.hostile_server import HostileServer, hostile_server, whole_file
from data_miner_dagster_tests.support.small_videos import make_noise


class Watcher:
    """A thread that measures the sizes of a root continuously. A file with several names counts once."""

    def __init__(self, root: Path) -> None:
        self.peak_root = 0
        self.peak_videos = 0
        self.num_looks = 0
        self._root = root
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.is_set():
            total, videos = _sizes(self._root)
            self.peak_root, self.peak_videos = max(self.peak_root, total), max(self.peak_videos, videos)
            self.num_looks += 1
            time.sleep(0.005)


def _sizes(root: Path) -> tuple[int, int]:
    seen: set[tuple[int, int]] = set()
    total = videos = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                status = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - thousands a second
            except FileNotFoundError:
                continue
            if (place := (status.st_dev, status.st_ino)) not in seen:
                seen.add(place)
                total += status.st_size
                videos += status.st_size if folder.startswith(f"{root}/videos/") else 0
    return total, videos


@contextmanager
def _material(folder: Path, num_videos: int) -> Iterator[tuple[HostileServer, list[dict[str, Any]], list[int]]]:
    """Yield a server, the sources of a project, and the sizes of its videos."""
    files = [make_noise(folder / f"{number:03d}.mp4", seed=number, num_frames=250) for number in range(num_videos)]
    with hostile_server() as server:
        urls = [server.add(f"/{path.name}", whole_file(path.read_bytes())) for path in files[::2]]
        local = [str(path) for path in files[1::2]]
        sources = [{"type": "urls", "urls": urls}, {"type": "files", "paths": local}]
        yield server, sources, [path.stat().st_size for path in files]


def _project_file(path: Path, sources: Sequence[dict[str, Any]], quota: int | None) -> Path:
    content = {
        "name": "noise",
        "sourcing": {"sources": list(sources)},
        "filtering": {"positive": ["noise"], "positive_threshold": -1.0},
        "detection": {"classes": {"car": []}},
        "releasing": {"include_frames_without_boxes": True},
        "platform": {
            "models": {"profile": "lite"},
            "extraction": {"strategy": "uniform", "num_frames": 2},
            "downloading": {
                "allowed_private_hosts": ["127.0.0.1"],
                "min_free_bytes": 0,
                "max_size_bytes": 8_000_000,
            },
            "room": {"quota": quota},
        },
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _run(file: Path, root: Path) -> tuple[float, str]:
    began = time.monotonic()
    ended = data_miner("run", "--config", file, "--root", root, timeout=3600)
    if ended.returncode:
        print(ended.stdout, file=sys.stderr)
        raise subprocess.CalledProcessError(ended.returncode, "data-miner run")
    return time.monotonic() - began, ended.stdout


def measure(folder: Path, num_videos: int) -> dict[str, Any]:
    """Return the figures."""
    material = folder / "material"
    material.mkdir()
    with _material(material, num_videos) as (server, sources, sizes):
        quota = sum(sizes) // 10
        free, limited = folder / "free", folder / "limited"
        seconds, _ = _run(_project_file(folder / "free.yaml", sources, None), free)
        num_requests = server.count()
        limited_file = _project_file(folder / "limited.yaml", sources, quota)
        with Watcher(limited) as watcher:
            limited_seconds, _ = _run(limited_file, limited)
        num_limited = server.count() - num_requests
        _run(limited_file, limited)
        num_again = server.count() - num_requests - num_limited
    videos = json.loads(data_miner("videos", "--root", limited, "--json").stdout)
    releases = digests(free / "releases"), digests(limited / "releases")
    return {
        "videos": num_videos,
        "extracted": sum(video["status"] == "EXTRACTED" for video in videos),
        "bytes": sum(sizes),
        "quota": quota,
        "largest_video": max(sizes),
        "peak_of_root": watcher.peak_root,
        "peak_of_videos": watcher.peak_videos,
        "looks": watcher.num_looks,
        "taken_without_quota": _sizes(free)[0],
        "taken_at_the_end": _sizes(limited)[0],
        "requests_without_quota": num_requests,
        "requests": num_limited,
        "requests_of_second_run": num_again,
        "files_of_release": len(releases[1]),
        "is_release_equal": releases[0] == releases[1] and bool(releases[0]),
        "seconds_without_quota": round(seconds, 1),
        "seconds": round(limited_seconds, 1),
    }


def faults_of(figures: dict[str, Any]) -> list[str]:
    """Return the violated conditions."""
    beyond = figures["peak_of_root"] - figures["quota"] - figures["largest_video"]
    return [
        *(["not every video was extracted"] if figures["extracted"] < figures["videos"] else []),
        *([f"{size_text(beyond)} more than the quota and one video was used"] if beyond > 0 else []),
        *(["a video was downloaded twice"] if figures["requests"] > figures["requests_without_quota"] else []),
        *(["the second run sent requests"] if figures["requests_of_second_run"] else []),
        *([] if figures["is_release_equal"] else ["the releases differ"]),
    ]


def main() -> int:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.videos)
    faults = faults_of(figures)
    if options.json:
        print(json.dumps({**figures, "faults": faults}, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:<28} {value}")
        print("faults: " + ("; ".join(faults) or "none"))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
