"""Run a project's stage without the videos that have damaged files or caused an internal error.

A stage that detects one of these videos starts again without it, and reports it in the outcome's counts and in the
video's membership. The next build examines the video again.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from data_miner_dagster.catalog.transitions import move_project_videos
from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.operations.item_faults import ItemFault
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import read_metadata

T = TypeVar("T")

_KEY: Final = "data_miner.left_out"


class VideosLeftOutError(PermanentError):
    """Raised when some videos or frames of a project cannot be used. `lines` has the reasons, by key or frame id."""

    def __init__(self, faults: Mapping[str, ItemFault]) -> None:
        key = min(faults)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{key}: {faults[key].line}{more}")
        self.lines = {key: fault.line for key, fault in sorted(faults.items())}


def going_on_without(work: Callable[[Mapping[str, str]], T]) -> tuple[T, dict[str, str]]:
    """Return the result of `work`, and the reasons why videos or frames were left out, by video key or frame id.

    `work` is called with the reasons so far. Whenever it raises a `VideosLeftOutError` for further videos or frames, it
    is called again.

    Raises:
        VideosLeftOutError: `work` raised it only for videos and frames that were already left out.
    """
    lines: dict[str, str] = {}
    while True:
        try:
            return work(lines), lines
        except VideosLeftOutError as error:
            if error.lines.keys() <= lines.keys():
                raise
            lines |= error.lines


def as_metadata(lines: Mapping[str, str]) -> dict[str, str]:
    """Return metadata about the videos that are missing from a table, or an empty dict if none is missing."""
    return {_KEY: json.dumps(dict(sorted(lines.items())), ensure_ascii=False)} if lines else {}


def read_left_out(path: Path) -> dict[str, str]:
    """Return the reasons why videos were left out of a table, by video key, or an empty dict if none was."""
    lines: dict[str, str] = json.loads(read_metadata(path).get(_KEY, "{}"))
    return lines


def reason_of(line: str) -> str:
    """Return the reason to store in the membership of a video that was left out, given the line of its fault."""
    return f"{VideoErrorKind.INTERNAL_ERROR.value}: {line}"


def record_left_out(platform: Platform, project: str, lines: Mapping[str, str]) -> None:
    """Set the memberships of videos that were left out to FAILED, with the reason."""
    reasons: dict[str, tuple[int | None, str | None]] = {key: (None, reason_of(line)) for key, line in lines.items()}
    with platform.database.transaction() as session:
        move_project_videos(session, project, ProjectVideoStatus.FILTERING, dict.fromkeys(lines, (None, None)))
        move_project_videos(session, project, ProjectVideoStatus.FAILED, reasons)
