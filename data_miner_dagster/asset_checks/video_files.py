"""The common parts of checks on assets of videos: each check reports, for all videos, whether an asset's files exist.

A run of videos works on lists of keys, and would evaluate a check only once and without a partition, so these checks
have no partition. They are evaluated once a day (housekeeping.py), after a materialization in the browser, and by hand.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import dagster as dg

from data_miner_dagster.domain.work import ASSETS, WorkStage
from data_miner_dagster.operations.platform import Platform

NAMES: Final[Mapping[WorkStage, str]] = {
    WorkStage.DOWNLOADING: "every_video_has_its_file",
    WorkStage.EXTRACTION: "every_video_has_its_frames",
    WorkStage.EMBEDDING: "every_video_has_its_embeddings",
}
"""The check of each stage of videos."""


def check_files(platform: Platform, stage: WorkStage) -> dg.AssetCheckResult:
    """Return whether the files of a stage exist. Videos are counted, not named: `doctor` names them."""
    from data_miner_dagster.operations.upkeep.inspection import look_for_files

    found = look_for_files(platform, stage)
    return dg.AssetCheckResult(
        passed=found.line is None,
        severity=dg.AssetCheckSeverity.WARN,
        description=found.line,
        metadata={"videos": found.num_videos, "videos without their files": found.num_missing},
    )


def evaluations(platform: Platform) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the evaluation of each check, to be reported outside a run of its asset."""
    for stage, name in NAMES.items():
        result = check_files(platform, stage)
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(ASSETS[stage]),
            check_name=name,
            passed=bool(result.passed),
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
        )
