"""Measure the accuracy of the estimated remaining time after a fifth of a real run with unequal clips.

Usage: `python -m benchmarks.eta [--videos 30] [--seconds 6]`

Clips of 1 to 20 times `--seconds` are created, and a project with them goes through download (copies), extraction and
embedding as in `data-miner run`. The estimate is requested every tenth of a second during the run. The result is the
total time that was estimated after a fifth of the true time, divided by the true time. 1.0 is exact; the target is .75
to 1.25.
"""

import argparse
import json
import math
import tempfile
import threading
import time
from pathlib import Path

from data_miner_dagster.cli.in_process import InProcessRunner
from data_miner_dagster.cli.options import platform_options
from data_miner_dagster.deployment import open_instance
from data_miner_dagster.operations.progress import progress_of
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster_tests.support.small_videos import make_noise

_SPREAD = 20
_PROJECT = """\
name: eta
description: Clips of noise.
sourcing: {{sources: [{{type: files, paths: ["{folder}"]}}]}}
filtering: {{positive: [a thing]}}
detection: {{classes: {{person: []}}}}
"""


def make_clips(folder: Path, num_videos: int, shortest_seconds: float) -> None:
    """Write clips whose durations are spread evenly on a logarithmic scale, in a mixed order."""
    folder.mkdir()
    for number in range(num_videos):
        place = (number * 7) % num_videos / max(1, num_videos - 1)
        seconds = shortest_seconds * math.exp(place * math.log(_SPREAD))
        make_noise(folder / f"{number:03d}.mp4", seed=number, num_frames=round(10 * seconds), size_wh=(320, 180))


def estimates_of_run(root: Path, folder: Path) -> tuple[float, list[tuple[float, float]]]:
    """Process the clips; return the true time in seconds, and pairs of an elapsed time and the estimated total."""
    file = root.parent / "eta.yaml"
    file.write_text(_PROJECT.format(folder=folder))
    platform = platform_options(root, file, "lite").open()  # also passes the options on to the runs in this process
    told: list[tuple[float, float]] = []
    is_over = threading.Event()
    with open_instance(platform) as instance:
        register_project_file(platform, file)
        runner = InProcessRunner(platform, instance, "eta")
        runner.list_sources()
        began = time.monotonic()

        def ask() -> None:
            while not is_over.wait(0.1):
                found = progress_of(platform, "eta")
                now = time.monotonic() - began
                if found is not None and found.remaining_seconds is not None:
                    told.append((now, now + found.remaining_seconds))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            runner.settle_videos()
            took = time.monotonic() - began
        finally:
            is_over.set()
            asking.join()
    return took, told


def main() -> None:
    """Run once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=6.0, help="the duration of the shortest clip, in seconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clips"
        make_clips(folder, given.videos, given.seconds)
        took, told = estimates_of_run(Path(scratch) / "root", folder)
    after = {share: min(told, key=lambda pair: abs(pair[0] - share * took)) for share in (0.2, 0.4, 0.6, 0.8)}
    print(json.dumps({f"estimate_after_{share:g}": round(pair[1] / took, 3) for share, pair in after.items()}))


if __name__ == "__main__":
    main()
