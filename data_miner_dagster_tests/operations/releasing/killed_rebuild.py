"""Rebuild a release in a process that is killed at a given moment: `python -m ... ROOT VERSION OUT MOMENT`.

Each change of the file system and each picture given to the detector counts as a moment. For each picture, a byte is
appended to `OUT.seen`, so that the pictures of successive processes add up. Parts have four pictures.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage
from data_miner_dagster.operations.detection import neighbours, runs
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.rebuilding import plan_rebuild, rebuild_release
from data_miner_dagster_tests.support.axis_project import AxisEncoder
from data_miner_dagster_tests.support.coloured_shapes import PROJECT
from data_miner_dagster_tests.support.local_projects import POLITENESS_OFF
from data_miner_dagster_tests.support.models import PlantedModels
from data_miner_dagster_tests.support.moving_shapes import CarelessDetector

PART_FRAMES = 4
_CHANGES = frozenset({"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"})
CONFIG = {
    "extraction": {"every_seconds": 1, "snap_tolerance_seconds": 0},
    "downloading": POLITENESS_OFF,  # the hostile server is on loopback
}


def platform_of(root: Path, detector: CarelessDetector | None = None) -> Platform:
    """Return the platform of a root, with models for a project whose objects are followed."""
    models = PlantedModels(AxisEncoder(), detectors=[detector or CarelessDetector()])
    return Platform(PlatformConfig.model_validate(CONFIG), root, models=models)


class _Moments:
    def __init__(self, fatal: int) -> None:
        self.number = 0
        self.fatal = fatal

    def count(self) -> None:
        self.number += 1
        if self.number == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(self, event: str, _arguments: Any) -> None:
        if event in _CHANGES:
            self.count()


class _CountedDetector(CarelessDetector):
    moments: _Moments
    seen: Path

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        found = []
        for image in images:
            self.moments.count()
            with self.seen.open("ab") as file:
                file.write(b".")
            found += super().detect([image], classes, confidence_floor=confidence_floor)
        return found


def main(root: str, version: str, out: str, fatal: str) -> None:
    """Rebuild the release and write the number of moments to `OUT.moments`."""
    for module in (runs, neighbours):
        vars(module)["PART_FRAMES"] = PART_FRAMES
    detector = _CountedDetector()
    detector.moments, detector.seen = _Moments(int(fatal)), Path(f"{out}.seen")
    platform = platform_of(Path(root), detector)
    plan = plan_rebuild(platform, PROJECT, version=version)
    sys.addaudithook(detector.moments.hear)
    rebuild_release(platform, plan, Path(out))
    Path(f"{out}.moments").write_text(str(detector.moments.number))


if __name__ == "__main__":
    main(*sys.argv[1:])
