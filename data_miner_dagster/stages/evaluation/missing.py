"""The share of objects without a box, measured on frames that were sampled at random and judged completely.

An object is missed if no box of its class at or above the class's threshold overlaps it (IoU 0.5, one to one).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_miner_dagster.domain.quality import Estimate, JudgedObject
from data_miner_dagster.stages.estimates import clustered_share


@dataclass(frozen=True, slots=True)
class MissedShare:
    """The numbers of all objects and of missed objects in randomly sampled frames, and the share of missed objects."""

    num_objects: int
    num_missed: int
    share: Estimate


def missed_share(objects: Sequence[JudgedObject], thresholds: Mapping[str, float]) -> MissedShare | None:
    """Return the share of missed objects, or None if there are no objects of the classes in `thresholds`.

    Args:
        objects: all objects in the sampled frames.
        thresholds: thresholds by class name. Objects of other classes are ignored.
    """
    wanted = [found for found in objects if found.class_name in thresholds]
    is_missed = np.array([_is_missed(found, thresholds[found.class_name]) for found in wanted], np.bool_)
    share = clustered_share(is_missed, np.array([found.frame for found in wanted], np.int64))
    return MissedShare(len(wanted), int(is_missed.sum()), share) if share is not None else None


def _is_missed(found: JudgedObject, threshold: float) -> bool:
    return found.confidence is None or bool(np.float32(found.confidence) < np.float32(threshold))
