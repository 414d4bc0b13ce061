"""What is known of an object along a video: on which other frames it was seen, and how surely.

Belongs here: the record that crosses layers. Does not belong here: how objects are followed (stages/tracking/).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sighting:
    """A detector's box of an object on another frame of its video, as evidence for one that no detector reported."""

    pts_seconds: float
    confidence: float


def sightings_from(rows: Iterable[Mapping[str, Any]] | None) -> tuple[Sighting, ...] | None:
    """Return the sightings that a table holds as structs, in the order of time; None where it has none."""
    return None if rows is None else tuple(Sighting(row["pts_seconds"], row["confidence"]) for row in rows)


def sightings_as_rows(sightings: Iterable[Sighting] | None) -> list[dict[str, float]] | None:
    """Return sightings as tables and COCO hold them; None where there are none."""
    if sightings is None:
        return None
    return [{"pts_seconds": one.pts_seconds, "confidence": one.confidence} for one in sightings]
