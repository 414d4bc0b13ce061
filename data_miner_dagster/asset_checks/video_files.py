"""The common parts of the asset checks that report whether the files of all videos exist.

These checks have no partitions, because a run that processes a list of videos would evaluate a check only once, without
a partition. They are evaluated at the end of `data-miner run`, once a day (housekeeping.py), after a materialization in
the browser, and by hand.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import dagster as dg

from data_miner_dagster.domain.work import ASSETS, WorkStage
from data_miner_dagster.operations.platform import Platform

if TYPE_CHECKING:
    from data_miner_dagster.operations.upkeep.inspection import VideoFiles

_SEVERITY: Final = dg.AssetCheckSeverity.WARN
NAMES: Final[Mapping[WorkStage, str]] = {
    WorkStage.DOWNLOADING: "every_video_has_its_file",
    WorkStage.EXTRACTION: "every_video_has_its_frames",
    WorkStage.EMBEDDING: "every_video_has_its_embeddings",
}
"""The name of the asset check for each stage that processes videos."""


def check_files(platform: Platform, stage: WorkStage) -> dg.AssetCheckResult:
    """Check that every video has the files that a stage writes, and count the videos whose files are missing.

    A failed check is a warning. Its description gives the command that lists these videos.
    """
    from data_miner_dagster.operations.upkeep.inspection import look_for_files

    found = look_for_files(platform)[stage]
    return dg.AssetCheckResult(
        passed=found.line is None, severity=_SEVERITY, description=found.line, metadata=_figures(found)
    )


def report_checks(platform: Platform, instance: dg.DagsterInstance) -> list[str]:
    """Evaluate the check of each video stage outside a run, and store the results in `instance`.

    Return one line for each failed check.
    """
    from data_miner_dagster.operations.upkeep.inspection import look_for_files

    lines = []
    for stage, found in look_for_files(platform).items():
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(ASSETS[stage]),
            check_name=NAMES[stage],
            passed=found.line is None,
            metadata=_figures(found),
            severity=_SEVERITY,
            description=found.line,
        )
        instance.report_runless_asset_event(evaluation)
        lines += [found.line] if found.line is not None else []
    return lines


def _figures(found: "VideoFiles") -> dict[str, int]:
    return {"videos": found.num_videos, "videos without their files": found.num_missing}
