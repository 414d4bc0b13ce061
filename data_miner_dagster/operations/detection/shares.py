"""Divide a project's frames between the run that leads its detection and the runs that join it.

Unexamined frames are divided into shards (stages/sharding.py). The worker on a shard (operations/sharding.py) writes
the shard's parts. Decisions that compare a video's frames are made once all parts exist (deciding.py).

Belongs here: finding unexamined frames, and defining shards. Does not belong here: running the detector (runs.py).
"""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from data_miner_dagster.catalog.shards import ShardPlan, begin_sharing, end_sharing, find_plan, is_any_at_work
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import COLOURED_DETECTIONS_SCHEMA, DETECTIONS_SCHEMA
from data_miner_dagster.domain.versions import DETECTION_VERSION
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.models.provider import DetectorRole
from data_miner_dagster.operations.detection.exemplars import ExemplarsByClass, exemplar_basis
from data_miner_dagster.operations.detection.representatives import between, chosen_frames, frames_of
from data_miner_dagster.operations.detection.runs import DetectionFaults, FrameToDetect, Looker
from data_miner_dagster.operations.exemplars import exemplars_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import require_table
from data_miner_dagster.operations.sharding import ShardAtWork, join, lead
from data_miner_dagster.stages.sharding import cut_into_shards
from data_miner_dagster.storage.detection_parts import DetectionParts, PartName

logger = logging.getLogger(__name__)


@contextmanager
def models_of(config: DetectionConfig) -> Iterator[None]:
    """Mark a model error in the block as concerning only this project if the project chooses its own detectors."""
    try:
        yield
    except ModelError as error:
        error.is_of_project = bool(config.detectors)
        raise


def parts_of(
    platform: Platform,
    project: str,
    detectors: Sequence[DetectorRole],
    config: DetectionConfig,
    exemplars: ExemplarsByClass,
) -> Mapping[str, DetectionParts]:
    """Return the stored results of each detector with the current classes and settings, by detector name.

    No model is loaded.
    """
    parts = {}
    for detector in detectors:
        fingerprint = fingerprint_of(
            {
                "classes": [[wanted.class_name, list(wanted.prompts)] for wanted in config.class_prompts],
                "confidence_floor": config.confidence_floor,
                "detector": detector.fingerprint,
                "tiling": config.tiling.model_dump(mode="json") if config.tiling else None,
                "version": DETECTION_VERSION,
                **exemplar_basis(config, exemplars),
            }
        )
        folder = platform.layout.detection_parts_of(project, detector.name, fingerprint)
        schema = COLOURED_DETECTIONS_SCHEMA if config.compares_colours else DETECTIONS_SCHEMA
        parts[detector.name] = DetectionParts(folder, fingerprint, schema)
    return parts


def look_at_unseen(
    platform: Platform, project: str, looker: Looker, frames: Sequence[FrameToDetect], deduplicated: str
) -> None:
    """Examine all unexamined frames with one detector, together with the runs that join this one.

    Args:
        platform: the platform of one root.
        project: the name of the project, whose claim this run holds.
        looker: the detector with its results.
        frames: the project's representatives, ordered by frame id.
        deduplicated: the fingerprint of `deduplicated.parquet`.
    """
    database, stage, basis = platform.database, WorkStage.DETECTION, _basis(deduplicated, looker.parts)
    looker.parts.prepare(sweep=not is_any_at_work(database, stage, project))
    plan = find_plan(database, stage, project)
    if plan is None or plan.basis != basis:
        unseen = _unseen(frames, looker.parts.seen())
        ranges = cut_into_shards([frame.frame_id for frame in unseen], looker.batch_size)
        if len(ranges) < 2:  # a single shard cannot be shared
            end_sharing(database, stage, project)
            if unseen:
                looker.look_at(unseen, lambda _: None)
            return
        plan = begin_sharing(database, stage, project, basis, ranges, first_part=looker.parts.next_number())
    seen_before = looker.parts.seen(range(plan.first_part))
    ids = [frame.frame_id for frame in frames]

    def frames_between(first: str, last: str) -> Sequence[FrameToDetect]:
        return frames[bisect_left(ids, first) : bisect_right(ids, last)]

    num_by_others = lead(platform, plan, partial(_make, looker, seen_before, frames_between))
    end_sharing(database, stage, project)
    if num_by_others:
        logger.info("detection: other runs processed %d of %s", num_by_others, counted(plan.num_shards, "shard"))
        left = [each for each in _unseen(frames, looker.parts.seen()) if each.frame_id not in looker.attempted]
        if left:  # frames that other runs could not examine, so that their faults are recorded in this run
            looker.look_at(left, lambda _: None)


def join_detection(platform: Platform, project: str, *, may_go_on: Callable[[], bool]) -> int:
    """Examine shards of a project's frames alongside the run that leads its detection.

    Return the number of shards that this run has examined.

    No frame is examined if the project has no plan of shards, or if the plan was made from different frames or with
    different settings.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        may_go_on: called before each shard. If it returns False, this run takes no more shards.

    Raises:
        ConfigError: the project does not exist, or one of its exemplars cannot be read.
        NotReadyError: the frames have not been deduplicated.
        ModelError: the detector is missing or cannot be loaded.
    """
    config = platform.project_config(project).detection
    plan = find_plan(platform.database, WorkStage.DETECTION, project)
    if plan is None:
        return 0
    deduplicated = require_table(platform, project, ProjectStage.DEDUPLICATION)
    detectors = platform.models.detectors(config.detectors)
    exemplars = exemplars_of(platform, project, config)
    parts_by_name = parts_of(platform, project, detectors, config, exemplars)
    for detector, parts in zip(detectors, parts_by_name.values(), strict=True):
        if _basis(deduplicated, parts) == plan.basis:
            with (
                models_of(config),
                Looker(platform, detector, parts, config, DetectionFaults(), exemplars) as looker,
            ):
                return _join(platform, plan, looker, may_go_on)
    logger.info(
        "detection: this run did not join the run that leads the detection of project %s, because that run uses "
        "different frames or settings",
        project,
    )
    return 0


def _join(platform: Platform, plan: ShardPlan, looker: Looker, may_go_on: Callable[[], bool]) -> int:
    chosen = chosen_frames(platform, plan.project)
    seen_before = looker.parts.seen(range(plan.first_part))

    def frames_between(first: str, last: str) -> Sequence[FrameToDetect]:
        return frames_of(platform, between(chosen, first, last), DetectionFaults())

    return join(platform, plan, partial(_make, looker, seen_before, frames_between), may_go_on=may_go_on)


def _make(
    looker: Looker,
    seen_before: Mapping[str, str],
    frames_between: Callable[[str, str], Sequence[FrameToDetect]],
    work: ShardAtWork,
) -> None:
    """Examine the unexamined frames of a shard.

    The results are stored in parts that are numbered by the position of their first frame in the plan.

    Args:
        looker: the detector with its results.
        seen_before: the sha256 of each image that was examined before the plan was made, by frame id.
        frames_between: returns the representatives from one frame id to another, both inclusive.
        work: the shard.
    """
    span = work.shard.range
    first_part = work.plan.first_part + span.start
    unseen = _unseen(frames_between(span.first, span.last), seen_before)
    left = _unseen(unseen, looker.parts.seen(range(first_part, first_part + span.size)))
    if left:
        first_part += len(unseen) - len(left)
        looker.look_at(left, lambda num_before: PartName(first_part + num_before, work.part_owner))


def _unseen(frames: Sequence[FrameToDetect], seen: Mapping[str, str]) -> list[FrameToDetect]:
    return [frame for frame in frames if seen.get(frame.frame_id) != frame.sha256]


def _basis(deduplicated: str, parts: DetectionParts) -> str:
    return fingerprint_of({"deduplicated": deduplicated, "parts": parts.fingerprint})
