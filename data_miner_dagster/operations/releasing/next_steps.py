"""Advise what to do about a project with nothing to release, based on the first funnel step whose count is 0."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow.compute as pc

from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reporting.funnel import Funnel, FunnelStep
from data_miner_dagster.storage.tables import read_table


def next_step(platform: Platform, project: str, funnel: Funnel) -> str:
    """Return one line of advice for a project with nothing to release."""
    for count in funnel.steps:
        if count.count == 0 and count.step in _REMEDIES:
            return _REMEDIES[count.step](platform, project)
    return f"run `data-miner status --project {project}` to see the outcome of each video and frame"


def _line(text: str, _platform: Platform, project: str) -> str:
    return text.format(project=project)


def _of_similarity(platform: Platform, project: str) -> str:
    most = _greatest(platform.layout.filtered_table(project), "positive_similarity")
    said = "" if most is None else f"the highest similarity was {most:.3f}; "
    return (
        f"{said}if frames were dropped for low similarity, lower `filtering.positive_threshold`, rephrase the prompts, "
        f"or run `data-miner review {project}` to find the threshold from your answers"
    )


def _of_confidence(platform: Platform, project: str) -> str:
    most = _greatest(platform.layout.detections_table(project), "confidence")
    said = "" if most is None else f"the highest confidence was {most:.3f}; "
    return f"{said}lower `releasing.confidence_threshold`, or run `data-miner review {project}` to check the boxes"


def _greatest(table: Path, column: str) -> float | None:
    if not table.is_file():
        return None
    most = pc.max(read_table(table, [column])[column]).as_py()
    return None if most is None else float(most)


_REMEDIES: Final[Mapping[FunnelStep, Callable[[Platform, str], str]]] = {
    FunnelStep.CANDIDATES: partial(
        _line, "its sources listed no video; run `data-miner status --project {project}` to see what each one listed"
    ),
    FunnelStep.VIDEOS: partial(
        _line, "its rules rejected every video; run `data-miner status --project {project}` to see the counts by rule"
    ),
    FunnelStep.EXTRACTED: partial(
        _line, "no video has been extracted; run `data-miner videos --project {project}` to see the state of each"
    ),
    FunnelStep.FILTERED: _of_similarity,
    FunnelStep.BOXES: partial(
        _line,
        "no detector found a box; rephrase the classes, try another detector with `data-miner try "
        "detect FOLDER`, or set `releasing.include_frames_without_boxes: true`",
    ),
    FunnelStep.BOXES_RELEASABLE: _of_confidence,
}
