"""Measure the download speed of small files over loopback, against plain yt-dlp on the same list in the same run.

    python -m benchmarks.downloading                   # 200 files
    python -m benchmarks.downloading --files 40        # a small size, to check that it works
    python -m benchmarks.downloading --json

Both sides are separate processes, and fetch from a server in a third one. Our side lists, downloads, verifies (by
decoding two pictures and reading the end of the file), hashes and records each video; yt-dlp only downloads. Pauses and
budgets are off. yt-dlp processes its list sequentially; our side is one process with `--threads` threads. Both times
begin with the start of the interpreter, and both sides have compiled bytecode, as after an installation with pip.
"""

import argparse
import compileall
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import data_miner_dagster
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.sites.versions import yt_dlp_version

SIDES = ("plain", "ours")


def _serve(files: int, content: bytes, connection: Connection) -> None:
    from data_miner_dagster_tests.sites.hostile_server import hostile_server, whole_file

    with hostile_server() as server:
        urls = [server.add(f"/clip_{number:04d}.mp4", whole_file(content)) for number in range(files)]
        connection.send(urls)
        while (word := connection.recv()) != "stop":
            assert word == "count"
            connection.send((server.count(), sum(request.body_bytes_sent for request in server.requests)))


def _ours(folder: Path, urls: list[str], threads: int) -> None:
    """Run this package's side in a process of its own."""
    from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
    from data_miner_dagster.domain.records import OutcomeStatus
    from data_miner_dagster.operations.downloading.download_videos import download_videos
    from data_miner_dagster.operations.platform import Platform
    from data_miner_dagster.operations.sourcing.list_sources import list_sources

    downloading = {"allowed_private_hosts": ["127.0.0.1"], "concurrent_downloads": threads}
    politeness = {"concurrent_per_site": threads}
    config = PlatformConfig.model_validate({"downloading": {**downloading, "politeness": politeness}})
    platform = Platform(config, folder)
    project = ProjectConfig.model_validate(
        {
            "name": "benchmark",
            "sourcing": {"sources": [{"type": "urls", "urls": urls}]},
            "filtering": {"positive": ["x"]},
            "detection": {"classes": {"x": []}},
        }
    )
    save_snapshot(platform.database, "benchmark", project.model_dump(mode="json"), "hash", None)
    list_sources(platform, "benchmark")
    outcomes = download_videos(platform, [row.key for row in find_videos(platform.database)])
    if not all(outcome.status is OutcomeStatus.DONE for outcome in outcomes):
        raise SystemExit(f"{outcomes}")


def _start_plain(folder: Path, urls: list[str]) -> None:
    """Run plain yt-dlp in a process of its own."""
    folder.mkdir(parents=True)
    (folder / "list.txt").write_text("\n".join(urls))
    command = [sys.executable, "-m", "yt_dlp", "--quiet", "--no-warnings", "--ignore-config", "--proxy", ""]
    command += ["--batch-file", "list.txt", "--output", "%(id)s.%(ext)s"]
    subprocess.run(command, cwd=folder, check=True)


def _start_ours(folder: Path, urls: list[str], threads: int) -> None:
    request = json.dumps({"folder": str(folder), "urls": urls, "threads": threads})
    subprocess.run(
        [sys.executable, "-m", "benchmarks.downloading", "--side"],
        input=request,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def _timed(side: str, folder: Path, urls: list[str], threads: int) -> dict[str, Any]:
    """Run one side as a child process; return wall seconds, CPU seconds and the number of files."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    if side == "plain":
        _start_plain(folder, urls)
    else:
        _start_ours(folder, urls, threads)
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"files": len(list(folder.rglob("*.mp4"))), "wall_seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}


def measure(files: int, threads: int, repeats: int) -> dict[str, Any]:
    """Return the medians of `repeats` alternating runs of each side, and the requests that the server received."""
    from data_miner_dagster_tests.support.small_videos import make_video

    work = Path(tempfile.mkdtemp(prefix="data_miner_benchmark_"))
    compileall.compile_dir(Path(data_miner_dagster.__file__).parent, quiet=1)
    try:
        clip = make_video(work / "clip.mp4", num_frames=50, size_wh=(320, 240)).read_bytes()
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        server = multiprocessing.get_context("spawn").Process(target=_serve, args=(files, clip, theirs), daemon=True)
        server.start()
        urls: list[str] = ours.recv()
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        requests = 0
        for repeat in range(repeats):
            for side in SIDES:
                run = _timed(side, work / f"{side}_{repeat}", urls, threads)
                if run["files"] != files:
                    raise SystemExit(f"{side}: {run['files']} of {files} files were downloaded")
                ours.send("count")
                seen, _ = ours.recv()
                run["requests"], requests = seen - requests, seen
                runs[side].append(run)
        ours.send("stop")
        server.join()
    finally:
        shutil.rmtree(work)
    figures = ("wall_seconds", "cpu_seconds", "requests")
    medians = {side: {name: median(run[name] for run in runs[side]) for name in figures} for side in SIDES}
    return {
        "benchmark": "downloading",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "yt_dlp": yt_dlp_version(),
        "cores": os.cpu_count(),
        "files": files,
        "file_bytes": len(clip),
        "threads": threads,
        "medians": medians,
        "throughput_ratio": round(medians["plain"]["wall_seconds"] / medians["ours"]["wall_seconds"], 2),
        "cpu_ms_per_video": {side: round(1000 * medians[side]["cpu_seconds"] / files, 1) for side in SIDES},
        "runs": runs,
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        request = json.loads(sys.stdin.read())
        _ours(Path(request["folder"]), request["urls"], request["threads"])
        return
    result = measure(arguments.files, arguments.threads, arguments.repeats)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(
        f"{result['files']} files of {result['file_bytes']} bytes, {result['threads']} threads, {result['cores']} cores"
    )
    for side in SIDES:
        run = result["medians"][side]
        print(
            f"  {side:6} {run['wall_seconds']:7.2f} s wall  {run['cpu_seconds']:7.2f} s CPU  {run['requests']} requests"
        )
    print(f"  throughput against plain yt-dlp: {result['throughput_ratio']}x")


if __name__ == "__main__":
    main()
