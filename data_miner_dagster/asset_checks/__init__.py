"""Asset checks: promises verified on every materialization of a project's assets.

Belongs here: one thin check a promise, which asks an operation and reports figures. Does not belong here: the proof.
Checks of the per-video assets would say nothing in a range run (one evaluation, no partition): their promises are
kept by the operations themselves, and their figures are in the metadata.
"""

from typing import Final

from data_miner_dagster.asset_checks.deduplication import duplicates_are_covered
from data_miner_dagster.asset_checks.detection import boxes_lie_inside
from data_miner_dagster.asset_checks.filtering import every_frame_is_decided
from data_miner_dagster.asset_checks.releasing import release_is_whole

ALL_CHECKS: Final = (every_frame_is_decided, duplicates_are_covered, boxes_lie_inside, release_is_whole)
