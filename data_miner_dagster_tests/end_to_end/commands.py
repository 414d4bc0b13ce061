"""Helpers that run `data-miner` as a user does: in its own process, with its output read line by line."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import yaml

CHECKOUT = Path(__file__).parents[2]


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a child process: it uses this checkout's code and no personal settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DATA_MINER_", "DAGSTER_")) or name == "DATA_MINER_MODEL_CACHE"
    }
    return {**kept, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **extra}


def command(*arguments: str | Path) -> list[str]:
    """Return the argument list of a `data-miner` call with this interpreter."""
    return [sys.executable, "-m", "data_miner_dagster", *map(str, arguments)]


def data_miner(
    *arguments: str | Path, timeout: float = 900, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command until it ends. Its stderr is merged into stdout."""
    return subprocess.run(
        command(*arguments),
        env=dict(env or environment()),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def kill_when(arguments: Sequence[str | Path], moment: re.Pattern[str], *, timeout: float = 900) -> list[str]:
    """Run a command, kill its process group with SIGKILL at the first output line that matches, and return the lines.

    Raises:
        AssertionError: the command ended without a matching line.
    """
    process = subprocess.Popen(
        command(*arguments),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(timeout, process.kill)
    watchdog.start()
    lines: list[str] = []
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.append(line.rstrip())
            if moment.match(line):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                watchdog.cancel()
                return lines
    process.wait()
    watchdog.cancel()
    raise AssertionError(f"ended with {process.returncode} before its moment:\n" + "\n".join(lines))


def upload_again(source: Path, target: Path) -> Path:
    """Write a clip as another site would serve it: at two thirds of the size, with another bit rate and container."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        stream = writer.add_stream("libx264", rate=video.average_rate, options={"crf": "30", "preset": "veryfast"})
        stream.width, stream.height = video.width * 2 // 3 // 2 * 2, video.height * 2 // 3 // 2 * 2
        stream.pix_fmt = "yuv420p"
        for frame in reader.decode(video):
            writer.mux(stream.encode(frame.reformat(stream.width, stream.height)))
        writer.mux(stream.encode())
    return target


def write_yaml(path: Path, content: Mapping[str, object]) -> Path:
    """Write a project file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
    return path


def project(name: str, sources: Sequence[Mapping[str, object]], **changes: object) -> dict[str, object]:
    """Return the content of a small project file for the lite models."""
    return {
        "name": name,
        "sourcing": {"sources": list(sources)},
        "filtering": {"positive": ["a bicycle", "a car on the street", "a person"], "negative": ["a cartoon animal"]},
        "detection": {"classes": {"bicycle": [], "person": [], "car": ["car", "taxi"]}},
        "releasing": {"confidence_threshold": 0.25, "unsure": "as_negative"},  # nobody reviews these releases
        "platform": {
            "models": {"profile": "lite"},
            "extraction": {"strategy": "time", "every_seconds": 1.0},
            "downloading": {"allowed_private_hosts": ["127.0.0.1"]},
        },
        **changes,
    }


def digests(*folders: Path) -> dict[str, str]:
    """Return the sha256 of every file in the folders. Each key is the folder's name and the path within the folder."""
    return {
        f"{folder.name}/{path.relative_to(folder)}": hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def result_digests(root: Path) -> dict[str, str]:
    """Return the digests of all of a project's results: frames, embeddings, tables, releases and reports.

    Two things that differ between runs are left out: the measured cost in the reports, and the catalog rows stored
    for rebuilding a release, which contain times.
    """
    pages = {
        f"reports/{page.relative_to(root / 'reports')}": hashlib.sha256(
            re.sub(rb'<section id="cost">.*?</section>', b"", page.read_bytes(), flags=re.DOTALL)
        ).hexdigest()
        for page in sorted((root / "reports").rglob("*.html"))
    }
    files = digests(*(root / name for name in ("frames", "embeddings", "projects", "releases")))
    return {path: digest for path, digest in files.items() if "/release_inputs/" not in path} | pages
