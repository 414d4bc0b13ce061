"""What work costs: the record that meters fill, the catalog stores and reports add up."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from data_miner_dagster.domain.work import WorkStage


@dataclass(frozen=True, slots=True)
class Measured:
    """The cost of some work, and the amount it processed. The sum of two is the cost of both."""

    num_items: int = 0
    """Attempts at a video or project that ended, well or badly."""
    num_failed: int = 0
    """The failed ones among them."""
    num_requests: int = 0
    """Requests sent to sites."""
    bytes_received: int = 0
    """Bytes of the bodies of answers, as they came (compressed, if they were)."""
    bytes_written: int = 0
    """Bytes of the files that were written and kept."""
    cpu_seconds: float = 0.0
    """Of all threads and worker processes that worked on it."""
    gpu_seconds: float = 0.0
    """Time in models that run on a GPU."""
    wall_seconds: float = 0.0
    """Time from beginning to end. Of items that were worked on side by side, each has its own."""
    floor_seconds: float = 0.0
    """The part of the wall time that the stage cannot do without (`FLOORS`)."""
    num_frames: int = 0
    """Frames that were made or examined."""
    num_boxes: int = 0
    """Boxes that were found."""

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(*(getattr(self, name) + getattr(other, name) for name in AMOUNTS))

    def told(self) -> dict[str, int | float]:
        """Return the amounts that are not zero, by name."""
        return {name: value for name in AMOUNTS if (value := getattr(self, name))}


AMOUNTS: Final = tuple(field.name for field in fields(Measured))
"""The names of all amounts, in order."""

FLOORS: Final[Mapping[WorkStage, str]] = {
    WorkStage.DOWNLOADING: "receiving the bytes",
    WorkStage.EXTRACTION: "decoding",
    WorkStage.EMBEDDING: "the model",
    WorkStage.DETECTION: "the model",
}
"""The minimum that a stage needs, if that is measured. Its share of the wall time is the stage's efficiency."""


def measured_from_told(told: Mapping[str, object]) -> Measured:
    """Return another process's measurements, without impossible values. Untrusted bytes may have misled it."""
    known: dict[str, int | float] = {}
    for name in AMOUNTS:
        value = told.get(name)
        if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
            known[name] = float(value) if name.endswith("_seconds") else int(value)
    return Measured(**known)  # type: ignore[arg-type]
