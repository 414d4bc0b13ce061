"""Statuses of videos, project videos and projects, the only transitions between them, and the stages of a project.

Whatever goes by the order of stages (transitions, what a stage waits for, which table is made from which) takes it from
`PROJECT_WAY`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class VideoStatus(StrEnum):
    """Where a video stands on its way to frames. Central: the same for all projects."""

    PENDING = "PENDING"
    DOWNLOADING = "DOWNLOADING"
    DOWNLOADED = "DOWNLOADED"
    EXTRACTING = "EXTRACTING"
    EXTRACTED = "EXTRACTED"
    FAILED = "FAILED"  # may be retried
    UNAVAILABLE = "UNAVAILABLE"  # the site withholds it: not retried before a date


SETTLED_STATUSES = frozenset({VideoStatus.EXTRACTED, VideoStatus.FAILED, VideoStatus.UNAVAILABLE})
"""A video in one of these holds up no project."""


class ProjectVideoStatus(StrEnum):
    """Where a video stands in one project."""

    PENDING = "PENDING"
    FILTERING = "FILTERING"
    FILTERED = "FILTERED"
    FILTERED_EMPTY = "FILTERED_EMPTY"
    FAILED = "FAILED"
    REJECTED = "REJECTED"  # by a rule of this project, before any download


class ProjectStage(StrEnum):
    """How far a project has come, in order: it waits for a stage, the stage is at work, it waits for the next."""

    SOURCING = "SOURCING"  # its videos are listed, downloaded and taken apart
    FILTERING = "FILTERING"
    DEDUPLICATION_READY = "DEDUPLICATION_READY"
    DEDUPLICATION = "DEDUPLICATION"
    DETECTION_READY = "DETECTION_READY"
    DETECTION = "DETECTION"
    RELEASING_READY = "RELEASING_READY"
    RELEASING = "RELEASING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"  # at any of them; the project's error says at which, and why

    @property
    def word(self) -> str:
        """Of a stage at work: its word in every room, and its section of a project file."""
        return self.value.lower()


@dataclass(frozen=True, slots=True)
class StageOnTheWay:
    """One stage that works on a project: where it stands on the way, and what it makes."""

    waiting: ProjectStage  # where a project stands that this stage has to work on
    asset: str  # what Dagster and the user call what it makes
    table: str | None  # its file in the project's folder, from which the next stage works; None of the last


PROJECT_WAY: Final[Mapping[ProjectStage, StageOnTheWay]] = {
    ProjectStage.FILTERING: StageOnTheWay(ProjectStage.SOURCING, "filtered_frames", "filtered.parquet"),
    ProjectStage.DEDUPLICATION: StageOnTheWay(
        ProjectStage.DEDUPLICATION_READY, "deduplicated_frames", "deduplicated.parquet"
    ),
    ProjectStage.DETECTION: StageOnTheWay(ProjectStage.DETECTION_READY, "detections", "detections.parquet"),
    ProjectStage.RELEASING: StageOnTheWay(ProjectStage.RELEASING_READY, "dataset", None),
}
"""The stages that work on a project, in order: each works on what the one before has made. A new stage is a line here
and its two members of `ProjectStage`."""

STAGE_AFTER: Final[Mapping[ProjectStage, ProjectStage]] = dict(
    zip(PROJECT_WAY, (*(place.waiting for place in PROJECT_WAY.values()), ProjectStage.COMPLETE)[1:], strict=True)
)
"""Where a project stands once a stage has done its work."""

TABLE_STAGES: Final = tuple(stage for stage, place in PROJECT_WAY.items() if place.table is not None)
"""Those that make a table, in order: each table is made from the one before."""


def asset_before(stage: ProjectStage) -> str:
    """Return what a stage works on: the asset that the one before it on the way makes."""
    stages = list(PROJECT_WAY)
    return PROJECT_WAY[stages[stages.index(stage, 1) - 1]].asset


_V, _PV = VideoStatus, ProjectVideoStatus

# A claim (catalog/claims.py) guards the working statuses; a working status without a live claim goes back one step.
VIDEO_TRANSITIONS: Mapping[VideoStatus, frozenset[VideoStatus]] = {
    _V.PENDING: frozenset({_V.DOWNLOADING, _V.FAILED, _V.UNAVAILABLE}),
    _V.DOWNLOADING: frozenset({_V.DOWNLOADED, _V.FAILED, _V.UNAVAILABLE, _V.PENDING}),
    _V.DOWNLOADED: frozenset({_V.EXTRACTING, _V.DOWNLOADING, _V.PENDING, _V.FAILED}),
    _V.EXTRACTING: frozenset({_V.EXTRACTED, _V.FAILED, _V.DOWNLOADED}),
    _V.EXTRACTED: frozenset({_V.EXTRACTING, _V.DOWNLOADING, _V.DOWNLOADED, _V.PENDING, _V.FAILED}),
    _V.FAILED: frozenset({_V.PENDING, _V.DOWNLOADING, _V.DOWNLOADED, _V.EXTRACTING}),
    _V.UNAVAILABLE: frozenset({_V.PENDING, _V.DOWNLOADING}),
}

PROJECT_VIDEO_TRANSITIONS: Mapping[ProjectVideoStatus, frozenset[ProjectVideoStatus]] = {
    _PV.PENDING: frozenset({_PV.FILTERING, _PV.FAILED, _PV.REJECTED}),
    _PV.FILTERING: frozenset({_PV.FILTERED, _PV.FILTERED_EMPTY, _PV.FAILED, _PV.PENDING}),
    _PV.FILTERED: frozenset({_PV.FILTERING, _PV.PENDING, _PV.REJECTED}),
    _PV.FILTERED_EMPTY: frozenset({_PV.FILTERING, _PV.PENDING, _PV.REJECTED}),
    _PV.FAILED: frozenset({_PV.PENDING, _PV.FILTERING, _PV.REJECTED}),
    _PV.REJECTED: frozenset({_PV.PENDING}),
}

# The claim on a project guards its working stages. Whoever holds it may begin any of them, wherever the project stands:
# whether the tables of the stages before are there is what says if it can.
PROJECT_TRANSITIONS: Mapping[ProjectStage, frozenset[ProjectStage]] = {
    stage: frozenset({*PROJECT_WAY, ProjectStage.SOURCING, ProjectStage.FAILED})
    | ({PROJECT_WAY[stage].waiting, STAGE_AFTER[stage]} if stage in PROJECT_WAY else set())
    for stage in ProjectStage
}
