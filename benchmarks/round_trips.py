"""Measure round trips with annotation tools: the time of each direction, and the errors left in the next release.

    python -m benchmarks.round_trips                  # 1,000 images with each tool
    python -m benchmarks.round_trips --images 60
    python -m benchmarks.round_trips --json

A planted project has three objects per image. Its detector reported a fifth more boxes than there are objects, shifted
a twentieth of them, and missed another twentieth. The release is exported for each tool, and a simulated person
corrects every image in the tool's own file. The file is imported, and the project is released again. `num_faults`
counts the images with wrong labels in that release, and must be 0; `num_faults_before` counts those in the first one.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reviewing.round_trips import ReturnedFile, find_sent, import_corrections
from data_miner_dagster_tests.support.annotators import ANNOTATORS
from data_miner_dagster_tests.support.faulty_labels import build_faulty_project, faults_of_release

PROJECT = "cyclists"


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Store the seconds that the block takes under `name`."""
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 2)


def measure(tool: str, num_images: int, folder: Path) -> Mapping[str, object]:
    """Return the figures of one tool."""
    seconds: dict[str, float] = {}
    project = build_faulty_project(folder / "root", num_images)
    platform = project.platform
    with timed(seconds, "first release"):
        release_project(platform, PROJECT)
    sent_folder = platform.layout.release_folder(PROJECT, "v001")
    with timed(seconds, "out"):
        if tool != "coco":  # every release contains COCO
            sent_folder = export_release(platform, PROJECT, format=tool, to=folder / "export").folder
    path = ANNOTATORS[tool](sent_folder, project.truth, folder)
    with timed(seconds, "back"):
        sent = find_sent(platform, PROJECT, path, folder=sent_folder)
        file = ReturnedFile(path, tool, "somebody", all_reviewed=True)
        outcome = import_corrections(platform, PROJECT, file, sent)
    with timed(seconds, "next release"):
        release_project(platform, PROJECT)
    return {
        "seconds": seconds,
        "num_verdicts": outcome.num_verdicts,
        "words": {word.value: number for word, number in outcome.words.items()},
        "num_faults_before": len(list(faults_of_release(project, "v001"))),
        "num_faults": len(list(faults_of_release(project, "v002"))),
    }


def main() -> None:
    """Measure each tool, and print the figures."""
    parser = argparse.ArgumentParser(description="Round trips with annotation tools.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="60 images")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    num_images = 60 if options.quick else options.images
    figures: dict[str, object] = {"num_images": num_images}
    for tool in ANNOTATORS:
        with tempfile.TemporaryDirectory() as folder:
            figures[tool] = measure(tool, num_images, Path(folder))
        if not options.json:
            print(f"{tool}: {json.dumps(figures[tool])}", flush=True)
    if options.json:
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
