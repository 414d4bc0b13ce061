"""Export a project's verdicts to a file, and import verdicts from a file."""

from dataclasses import dataclass
from pathlib import Path

from data_miner_dagster.catalog.verdicts import add_verdicts, all_verdicts, undo_verdict
from data_miner_dagster.operations.filtering.verdicts import import_verdicts as import_frame_answers
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.review import open_review
from data_miner_dagster.operations.reviewing.unmet import UnmetVerdict
from data_miner_dagster.storage.answers import read_answers
from data_miner_dagster.storage.verdict_exchange import (
    PARQUET_SUFFIX,
    ExchangedVerdict,
    csv_columns,
    read_verdicts,
    write_verdicts,
)


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """The result of importing a file of verdicts.

    `unmet` contains the imported verdicts that are stored but currently match nothing in the project. It is empty for a
    file with the columns `frame_id` and `answer`.
    """

    num_lines: int  # verdicts or answers in the file
    num_new: int  # verdicts that were not stored before
    num_undone: int = 0  # stored verdicts that this import undid
    unmet: tuple[UnmetVerdict, ...] = ()
    unknown_frames: tuple[str, ...] = ()  # only from a file with frame_id and answer: frames that were left out


def export_verdicts(platform: Platform, project: str, path: Path) -> int:
    """Write every verdict of a project to a file, including undone ones, oldest first. Return the number of verdicts.

    Raises:
        ConfigError: the project does not exist, or the file's name does not end in .csv or .parquet.
    """
    platform.project_config(project)
    stored = all_verdicts(platform.database, project)
    return write_verdicts(path, (ExchangedVerdict(one.verdict, one.undone_at, one.undone_by) for one in stored))


def import_verdicts(platform: Platform, project: str, path: Path, *, who: str) -> ImportOutcome:
    """Import verdicts from a file, with their authors and times. A verdict whose id is already stored is not replaced.

    A verdict that is undone in the file is undone in the project too. The lines of a CSV file with the columns
    `frame_id` and `answer` (keep or drop) become verdicts by `who` at the current time. If any line is invalid, nothing
    is stored.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        path: a CSV or Parquet file.
        who: the author to record for verdicts, and for undoing them, if the file names no author.

    Raises:
        ConfigError: the project or file does not exist, the file cannot be read, or a line is not a verdict.
        NotReadyError: the file has answers about frames, but the project has not been filtered.
        TransientError: the verdicts were stored, but the project's tables are being rewritten.
    """
    platform.project_config(project)
    if path.suffix != PARQUET_SUFFIX and {"frame_id", "answer"} <= set(csv_columns(path)):
        before = sum(1 for _ in all_verdicts(platform.database, project))
        counts = import_frame_answers(platform, project, path, who=who)
        after = sum(1 for _ in all_verdicts(platform.database, project))
        return ImportOutcome(len(read_answers(path)), after - before, unknown_frames=counts.unknown)
    found = read_verdicts(path)
    num_new = add_verdicts(platform.database, project, [one.verdict for one in found])
    undone = [one for one in found if one.undone_at is not None]
    num_undone = sum(
        undo_verdict(platform.database, project, one.verdict.answer_id, who=one.undone_by or who) for one in undone
    )
    imported = {one.verdict.answer_id for one in found}
    unmet = tuple(one for one in open_review(platform, project).unmet() if one.verdict.answer_id in imported)
    return ImportOutcome(len(found), num_new, num_undone, unmet)
