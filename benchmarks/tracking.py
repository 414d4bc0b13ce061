"""Measure the peak memory for following objects through a whole clip, for two hours and for two minutes.

    python -m benchmarks.tracking            # clips of 2 minutes and 2 hours of moving shapes, a picture each .25 s
    python -m benchmarks.tracking --quick    # 1 and 5 minutes
    python -m benchmarks.tracking --json

Each clip repeats the packets of one minute. It is made in advance, and its frames are extracted. Then detection runs
with `whole_clip` in a process of its own: pictures are decoded, a planted detector examines each one and misses 30 % of
the boxes, and tracks are written. The peaks are measured by the kernel and include all imported modules. The peak of
that process may grow by at most a fifth. The worker that decodes has a separate peak, and ends before detectors start.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import pyarrow.parquet as pq

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, set_detection, set_stage
from data_miner_dagster_tests.support.models import PlantedModels
from data_miner_dagster_tests.support.moving_shapes import CarelessDetector, add_clip, make_shapes_clip

MOST_GROWTH: Final = 1.2
EVERY_SECONDS: Final = 0.25
_POLL_SECONDS: Final = 0.1


def _platform(root: Path) -> Platform:
    config = {"extraction": {"every_seconds": 10, "snap_tolerance_seconds": 5}}
    return Platform(PlatformConfig.model_validate(config), root, models=PlantedModels(detectors=[CarelessDetector()]))


def _plant(root: Path, seconds: float) -> None:
    platform = _platform(root)
    set_detection(platform, tracking={"whole_clip": True, "every_seconds": EVERY_SECONDS, "keep_windows": False})
    set_stage(platform, ProjectStage.DETECTION_READY)
    minute = make_shapes_clip(root.with_suffix(".minute.mp4"), 60)
    clip = repeated(minute, root.with_suffix(".mp4"), round(seconds / 60))
    add_clip(platform, "file-a", clip)
    clip.unlink()
    minute.unlink()


def repeated(clip: Path, target: Path, num_times: int) -> Path:
    """Write a clip that repeats the packets of another one."""
    with av.open(str(target), "w") as output:
        stream: Any = None
        for turn in range(num_times):
            with av.open(str(clip)) as source:
                stream = stream or output.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(source.streams.video[0]):
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift = round(turn * 60 / Fraction(packet.time_base or 1))
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    output.mux(packet)
    return target


def _follow(root: Path) -> dict[str, Any]:
    """Follow the objects of a clip in this process, and return its figures."""
    platform = _platform(root)
    outcome = detect_project(platform, PROJECT)
    return {
        "pictures": pq.read_metadata(platform.layout.tracked_frames_table(PROJECT)).num_rows,
        "boxes_of_tracks": pq.read_metadata(platform.layout.tracks_table(PROJECT)).num_rows,
        "recovered_boxes_on_frames": outcome.counts["recovered_boxes"],
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _in_a_process(root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.tracking", "--follow", str(root)]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max([peak, *map(_peak_kb, _children(process.pid))])
            time.sleep(_POLL_SECONDS)
        assert process.stdout is not None
        output = process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {**json.loads(output[output.index("{") :]), "worker_peak_mb": round(peak / 1024)}


def _children(process_id: int) -> list[int]:
    """Return the ids of all descendants of a process, from /proc."""
    own: list[int] = []
    for task in Path(f"/proc/{process_id}/task").glob("*/children"):
        own += [int(child) for child in _text_of(task).split()]
    return [*own, *(below for child in own for below in _children(child))]


def _peak_kb(process_id: int) -> int:
    lines = _text_of(Path(f"/proc/{process_id}/status")).splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # the process has ended
        return ""


def measure(minutes: tuple[int, ...]) -> dict[str, Any]:
    """Return the figures of a short and a long clip."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-tracking-") as folder:
        for length in minutes:
            root = Path(folder) / f"{length:g}"
            _plant(root, length * 60)
            figures |= {f"{length:g}_min_{name}": value for name, value in _in_a_process(root).items()}
    short, long = (f"{length:g}_min" for length in minutes)
    figures["growth_of_peak"] = round(figures[f"{long}_peak_mb"] / figures[f"{short}_peak_mb"], 3)
    return figures


def main() -> int:
    """Measure, and print the figures. Return 1 if memory grows with the length of a clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="clips of 1 and 5 minutes")
    parser.add_argument("--minutes", nargs=2, type=int, metavar=("SHORT", "LONG"), help="clips of other lengths")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--follow", type=Path, metavar="ROOT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow is not None:
        print(json.dumps(_follow(options.follow)))
        return 0
    figures = measure((1, 5) if options.quick else (2, 120) if options.minutes is None else tuple(options.minutes))
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for key, value in figures.items():
            print(f"   {key:<40} {value}")
    return int(figures["growth_of_peak"] > MOST_GROWTH)


if __name__ == "__main__":
    raise SystemExit(main())
