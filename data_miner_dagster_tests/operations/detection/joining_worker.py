"""Join in a detection, in a process of its own: `python -m ....joining_worker ROOT [BATCH]`.

The process prints how many shards it examined. If BATCH is given, it prints "held" when its detector reaches that
batch, and waits to be killed.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage
from data_miner_dagster.operations.detection.shares import join_detection
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, ColourDetector, platform_of


class HeldDetector(ColourDetector):
    """Stops at the chosen batch until the process is killed."""

    def __init__(self, held_at: int | None) -> None:
        super().__init__()
        self._held_at = held_at

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the boxes, or wait to be killed at the chosen batch."""
        if len(self.batch_sizes) == self._held_at:
            print("held", flush=True)
            time.sleep(600)
        return super().detect(images, classes, confidence_floor=confidence_floor)


def main() -> None:
    """Join in the detection that the arguments name."""
    root, *held_at = sys.argv[1:]
    platform = platform_of(Path(root), HeldDetector(int(held_at[0]) if held_at else None))
    print(join_detection(platform, PROJECT, may_go_on=lambda: True), flush=True)


if __name__ == "__main__":
    main()
