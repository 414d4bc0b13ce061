"""The record of the cost of work. Meters fill such records, the catalog stores them, and reports sum them up."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from data_miner_dagster.domain.work import WorkStage


@dataclass(frozen=True, slots=True)
class Measured:
    """The cost of some work, and the amount that it processed. Records can be added."""

    num_items: int = 0
    """The number of finished attempts at a video or project, successful or not."""
    num_failed: int = 0
    """The number of failed attempts, which are included in `num_items`."""
    num_requests: int = 0
    """The number of requests sent to sites and buckets."""
    bytes_received: int = 0
    """The size of all response bodies as transferred, compressed if they were compressed."""
    bytes_written: int = 0
    """The size of the files that were written and retained."""
    cpu_seconds: float = 0.0
    """The CPU time of all threads and worker processes that did the work."""
    gpu_seconds: float = 0.0
    """The time spent in models that run on a GPU."""
    wall_seconds: float = 0.0
    """The time from start to end. Items that are processed concurrently each count their own time."""
    floor_seconds: float = 0.0
    """The part of the wall time that the stage cannot avoid (`FLOORS`)."""
    num_frames: int = 0
    """The number of frames that were created or examined."""
    num_boxes: int = 0
    """The number of boxes that were detected."""

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
"""The work that a stage cannot avoid, for stages where it is measured.

Its share of the wall time is the efficiency of the stage.
"""


def measured_from_told(told: Mapping[str, object]) -> Measured:
    """Return a record of the amounts in `told`. Unknown names and invalid values are ignored.

    A valid value is finite and at least 0. Worker processes read untrusted input, so they may report anything.
    """
    known: dict[str, int | float] = {}
    for name in AMOUNTS:
        value = told.get(name)
        if isinstance(value, int | float) and 0 <= value <= sys.float_info.max:  # False for NaN
            known[name] = float(value) if name.endswith("_seconds") else int(value)
    return Measured(**known)  # type: ignore[arg-type]
