"""Check a project's deduplicated table, without the indexes that were used to create it.

Each duplicate must be a near-duplicate of its representative, and no two representatives should be near-duplicates of
each other. An exact search ensures the second condition. A clustered search may miss some pairs.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.deduplication.deduplicate_project import FOREIGN_TIERS, SAMPLE_SIZE, read_inputs
from data_miner_dagster.operations.deduplication.distinctions import distinctions_of
from data_miner_dagster.operations.deduplication.frames import (
    PICTURE_COLUMNS,
    appearances_of,
    of_width,
    stacked,
    with_pictures,
)
from data_miner_dagster.operations.deduplication.others import foreign_frames
from data_miner_dagster.operations.deduplication.search import is_exact_affordable
from data_miner_dagster.operations.embedding.vectors import read_frame_vectors
from data_miner_dagster.operations.left_out import read_left_out
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import require_table
from data_miner_dagster.stages.deduplication.cosines import IntArray
from data_miner_dagster.stages.deduplication.guarantees import GuaranteeReport, verify_guarantees
from data_miner_dagster.storage.alignment import rows_of_ids
from data_miner_dagster.storage.tables import read_table

_ALL_CHECKED_UP_TO: Final = 100_000


@dataclass(frozen=True, slots=True)
class DeduplicationCheck:
    """The result of checking a project's deduplicated table, for the asset check and for people."""

    report: GuaranteeReport
    minimum_recall: float  # 1 if the search was exact
    first_offenders: tuple[tuple[str, str], ...]  # pairs of frame ids

    @property
    def holds(self) -> bool:
        """True if each duplicate is a near-duplicate of its representative, and the recall reaches `minimum_recall`."""
        return not self.report.num_unsupported and self.report.recall >= self.minimum_recall

    @property
    def description(self) -> str:
        """The result of the check as a single line, for the user."""
        report = self.report
        line = (
            f"checked {counted(report.num_duplicates, 'duplicate')} and {report.num_representatives_checked:,} of "
            f"{counted(report.num_representatives, 'representative')}: "
            f"{counted(report.num_unsupported, 'duplicate')} without a representative within reach, "
            f"{counted(report.num_too_close, 'representative')} too close to another"
        )
        if pairs := ", ".join(f"{one} and {other}" for one, other in self.first_offenders):
            line += f"; for example {pairs}"
        return line if self.holds else f"{line}; `data-miner force-dedup PROJECT` recreates the table"


def check_deduplication(platform: Platform, project: str, *, sample_size: int | None = None) -> DeduplicationCheck:
    """Compare a project's frames again, without the indexes that found the duplicates.

    Args:
        platform: the platform of the project.
        project: the name of a project that has been deduplicated.
        sample_size: the number of representatives to compare with all earlier ones. If it is None, `SAMPLE_SIZE`
            of them are compared, or all of them (in about a minute) if the search was exact and there are at most
            100,000 frames.

    Raises:
        DataMinerError: the project does not exist or has not been deduplicated, or frames or embeddings are missing.
    """
    inputs = read_inputs(platform, project)
    require_table(platform, project, ProjectStage.DEDUPLICATION)
    path = platform.layout.deduplicated_table(project)
    config = inputs.config.deduplication
    decided = read_table(path).sort_by("quality_rank")
    foreign, _ = foreign_frames(platform, config, read_left_out(path))
    newcomers = read_frame_vectors(platform, inputs.encoder, decided)
    leaders = of_width(read_frame_vectors(platform, inputs.encoder, foreign), newcomers)
    remedy = f"run `data-miner force-dedup {project}`"
    ids = _named_ids(decided, foreign, remedy)
    is_exact = is_exact_affordable(len(leaders), len(newcomers), config.exact_up_to_frames)
    if sample_size is None and not (is_exact and len(newcomers) <= _ALL_CHECKED_UP_TO):
        sample_size = SAMPLE_SIZE
    pictures = with_pictures(platform, decided.select(["frame_id", "video_key", "frame_index"]))
    pictures = pictures.take(
        rows_of_ids(decided["frame_id"], pictures["frame_id"], table="the list of pictures", remedy=remedy)
    )
    every = stacked([foreign.select(PICTURE_COLUMNS), pictures.select(PICTURE_COLUMNS)])
    report = verify_guarantees(
        leaders,
        newcomers,
        ids,
        inputs.threshold,
        appearances=appearances_of(every, config, distinctions_of(platform, config, inputs.verdicts, every)),
        sample_size=sample_size,
    )
    every_id = every["frame_id"]
    offenders = [*report.unsupported_pairs, *report.too_close_pairs][:3]
    return DeduplicationCheck(
        report,
        minimum_recall=1.0 if is_exact else config.minimum_recall,
        first_offenders=tuple((every_id[one].as_py(), every_id[other].as_py()) for one, other in offenders),
    )


def _named_ids(decided: pa.Table, foreign: pa.Table, remedy: str) -> IntArray:
    """Return the row of each decided frame's representative, as an (N,) int64 array.

    The rows of `foreign` are numbered first, then the rows of `decided`.
    """
    is_foreign = pc.fill_null(pc.is_in(decided["tier"], FOREIGN_TIERS), False)
    is_own = pc.invert(is_foreign)
    named = decided["representative_frame_id"]
    ids = np.empty(len(decided), np.int64)
    ids[is_foreign.to_numpy()] = rows_of_ids(
        named.filter(is_foreign),
        foreign["frame_id"],
        table="the list of frames of other projects and releases",
        remedy=remedy,
    )
    ids[is_own.to_numpy()] = len(foreign) + rows_of_ids(
        named.filter(is_own), decided["frame_id"], table="deduplicated.parquet", remedy=remedy
    )
    return ids
