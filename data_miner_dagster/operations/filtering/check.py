"""Count the decisions in filtered.parquet that violate a guarantee of the table, for its asset check."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.left_out import read_left_out
from data_miner_dagster.operations.members import project_members
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import require_table
from data_miner_dagster.storage.frames import read_frames
from data_miner_dagster.storage.tables import read_table

_REMEDY: Final = "; run `data-miner backfill --asset filtered_frames --project PROJECT --force` to decide again"


@dataclass(frozen=True, slots=True)
class DecisionCounts:
    """The counts of a project's frames and decisions, in total and by violated guarantee."""

    num_frames: int  # frames of the ready members, except videos that filtering left out
    num_decisions: int
    num_undecided: int  # frames without a decision
    num_of_no_frame: int  # decisions on frames that do not exist
    num_repeated: int  # decisions after the first one on the same frame
    num_without_reason: int  # dropped frames without a reason, and kept frames with one

    @property
    def holds(self) -> bool:
        """True if no guarantee is violated.

        The guarantees are that every frame has exactly one decision, every decision has a frame, and exactly the
        dropped frames have a reason.
        """
        return not (self.num_undecided or self.num_of_no_frame or self.num_repeated or self.num_without_reason)

    @property
    def description(self) -> str:
        """The counts as a single line, for the user."""
        return (
            f"{counted(self.num_frames, 'frame')}, {self.num_undecided:,} of them without a decision; "
            f"{counted(self.num_decisions, 'decision')}, {self.num_of_no_frame:,} of them without a frame, "
            f"{self.num_repeated:,} repeated, {self.num_without_reason:,} with a missing or unexpected reason"
            f"{'' if self.holds else _REMEDY}"
        )


def check_decisions(platform: Platform, project: str) -> DecisionCounts:
    """Compare a project's decisions with the frames of its members, and count the violations of each guarantee.

    Raises:
        ConfigError: the project does not exist.
        NotReadyError: the project has not been filtered.
        DamagedFileError: the table of decisions, or the frame table of a video, is damaged.
    """
    require_table(platform, project, ProjectStage.FILTERING)
    path = platform.layout.filtered_table(project)
    left_out = read_left_out(path)
    frames = pa.chunked_array(
        [
            read_frames(platform.layout, member.video_key, ["frame_id"])["frame_id"].combine_chunks()
            for member in project_members(platform, project).ready
            if member.video_key not in left_out
        ],
        pa.string(),
    )
    table = read_table(path, ["frame_id", "is_kept", "drop_reason"])
    is_kept = table["is_kept"].to_numpy()
    has_reason = pc.is_valid(table["drop_reason"]).to_numpy()
    return DecisionCounts(
        num_frames=len(frames),
        num_decisions=table.num_rows,
        num_undecided=_num_outside(frames, table["frame_id"]),
        num_of_no_frame=_num_outside(table["frame_id"], frames),
        num_repeated=table.num_rows - pc.count_distinct(table["frame_id"]).as_py(),
        num_without_reason=int(np.count_nonzero(is_kept == has_reason)),
    )


def _num_outside(ids: pa.ChunkedArray, known: pa.ChunkedArray) -> int:
    return len(ids) - int(pc.sum(pc.is_in(ids, known.combine_chunks())).as_py() or 0)
