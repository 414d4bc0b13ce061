"""Read a verifier's answers about the boxes on a frame for a review page."""

from dataclasses import dataclass

from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.tables import REASON_COLUMN, VERDICT_COLUMN
from data_miner_dagster.domain.verification import BoxAnswer, VerifierVerdict
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.by_video import rows_of_frames
from data_miner_dagster.storage.tables import has_values


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """A verifier's answer, and the detected box that it is about."""

    class_name: str
    box_xyxy: BoxXyxy  # in pixels of the frame, as stored by detection
    answer: BoxAnswer


def has_answers(platform: Platform, project: str) -> bool:
    """Return whether any detected box of a project has a verifier's answer."""
    table = platform.layout.detections_table(project)
    return table.is_file() and has_values(table, VERDICT_COLUMN)


def answers_of_frame(platform: Platform, project: str, frame_id: str) -> tuple[ShownAnswer, ...]:
    """Return a verifier's answers about the boxes detected on a frame, most confident box first.

    Raises:
        DamagedFileError: the table of detections cannot be read.
    """
    if not has_answers(platform, project):
        return ()
    columns = ["class_name", "x_min", "y_min", "x_max", "y_max", VERDICT_COLUMN, REASON_COLUMN]
    rows = rows_of_frames(platform.layout.detections_table(project), [frame_id], columns).to_pylist()
    return tuple(
        ShownAnswer(
            row["class_name"],
            (row["x_min"], row["y_min"], row["x_max"], row["y_max"]),
            BoxAnswer(VerifierVerdict(row[VERDICT_COLUMN]), row[REASON_COLUMN] or ""),
        )
        for row in rows
        if row[VERDICT_COLUMN] is not None
    )
