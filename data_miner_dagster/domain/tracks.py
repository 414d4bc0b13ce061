"""Records of objects that were followed through a video: their tracks, and the frames in which they were seen.

Belongs here: the records that cross layers. Does not belong here: following objects (stages/detection/following.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.masks import Mask


@dataclass(frozen=True, slots=True)
class Sighting:
    """A detection of an object in another frame of its video, as evidence for a box that no detector reported."""

    pts_seconds: float
    confidence: float


def sightings_from(rows: Iterable[Mapping[str, Any]] | None) -> tuple[Sighting, ...] | None:
    """Return the sightings that a table stores as structs, in the same order, or None if `rows` is None."""
    return None if rows is None else tuple(Sighting(row["pts_seconds"], row["confidence"]) for row in rows)


def sightings_as_rows(sightings: Iterable[Sighting] | None) -> list[dict[str, float]] | None:
    """Return sightings in the form that tables and COCO use, or None if `sightings` is None."""
    if sightings is None:
        return None
    return [{"pts_seconds": one.pts_seconds, "confidence": one.confidence} for one in sightings]


@dataclass(frozen=True, slots=True)
class BoxTrack:
    """The track of one box, and whether it was recovered from detections in other frames."""

    track_id: int | None = None  # from 1, within a video; None if the box has no track
    recovered_from: tuple[Sighting, ...] | None = None  # None if a detector reported the box

    def as_columns(self) -> dict[str, Any]:
        """Return the values of `TRACK_COLUMNS`, by name."""
        return {
            "track_id": self.track_id,
            "recovered": self.recovered_from is not None,
            "recovered_from": sightings_as_rows(self.recovered_from),
        }


@dataclass(frozen=True, slots=True)
class SeenObject:
    """An object that a video network detected in a frame. The object has the same number in all frames of its video."""

    number: int
    class_index: int
    prompt: str
    confidence: float
    box_xyxy: BoxXyxy
    mask: Mask | None = None
