"""Statuses of videos, project videos and projects, their allowed transitions, and the stages of a project.

`PROJECT_WAY` defines the order of stages, from which transitions, prerequisites and the inputs of tables follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class VideoStatus(StrEnum):
    """The progress of a video, from pending to extracted frames. All projects share it."""

    PENDING = "PENDING"
    DOWNLOADING = "DOWNLOADING"
    DOWNLOADED = "DOWNLOADED"
    EXTRACTING = "EXTRACTING"
    EXTRACTED = "EXTRACTED"
    FAILED = "FAILED"  # may be retried
    UNAVAILABLE = "UNAVAILABLE"  # the site withholds it: not retried before a given time


SETTLED_STATUSES = frozenset({VideoStatus.EXTRACTED, VideoStatus.FAILED, VideoStatus.UNAVAILABLE})
"""The statuses in which a video does not delay any project."""

STATUSES_WITHOUT_FILE = frozenset(
    {VideoStatus.PENDING, VideoStatus.DOWNLOADING, VideoStatus.FAILED, VideoStatus.UNAVAILABLE}
)
"""The statuses in which a video normally has no file. A FAILED video has a file if its extraction failed."""


class ProjectVideoStatus(StrEnum):
    """The progress of a video in one project."""

    PENDING = "PENDING"
    FILTERING = "FILTERING"
    FILTERED = "FILTERED"
    FILTERED_EMPTY = "FILTERED_EMPTY"
    FAILED = "FAILED"
    REJECTED = "REJECTED"  # by a rule of this project


class ProjectStage(StrEnum):
    """The progress of a project: waiting for a stage, at that stage, waiting for the next one, and so on."""

    SOURCING = "SOURCING"  # its videos are being listed, downloaded and extracted
    FILTERING = "FILTERING"
    DEDUPLICATION_READY = "DEDUPLICATION_READY"
    DEDUPLICATION = "DEDUPLICATION"
    DETECTION_READY = "DETECTION_READY"
    DETECTION = "DETECTION"
    RELEASING_READY = "RELEASING_READY"
    RELEASING = "RELEASING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"  # at any stage; the project's error states the stage and the reason

    @property
    def word(self) -> str:
        """The stage in lower case.

        For a stage that does work, such as `filtering`, this is also the name of its modules and of its section in a
        project file.
        """
        return self.value.lower()


@dataclass(frozen=True, slots=True)
class StageOnTheWay:
    """A stage that works on a project, with its output and the state of a project that is waiting for the stage."""

    waiting: ProjectStage  # the state of a project that is waiting for this stage
    asset: str  # the name of its output for Dagster and the user
    table: str | None  # the file in the project's folder that the next stage reads; None for the last stage


PROJECT_WAY: Final[Mapping[ProjectStage, StageOnTheWay]] = {
    ProjectStage.FILTERING: StageOnTheWay(ProjectStage.SOURCING, "filtered_frames", "filtered.parquet"),
    ProjectStage.DEDUPLICATION: StageOnTheWay(
        ProjectStage.DEDUPLICATION_READY, "deduplicated_frames", "deduplicated.parquet"
    ),
    ProjectStage.DETECTION: StageOnTheWay(ProjectStage.DETECTION_READY, "detections", "detections.parquet"),
    ProjectStage.RELEASING: StageOnTheWay(ProjectStage.RELEASING_READY, "dataset", None),
}
"""The stages that work on a project, in order: each uses the previous stage's output. To add a stage, add an entry here
and its two members of `ProjectStage`."""

STAGE_AFTER: Final[Mapping[ProjectStage, ProjectStage]] = dict(
    zip(PROJECT_WAY, (*(place.waiting for place in PROJECT_WAY.values()), ProjectStage.COMPLETE)[1:], strict=True)
)
"""The state of a project after each stage has finished."""

TABLE_STAGES: Final = tuple(stage for stage, place in PROJECT_WAY.items() if place.table is not None)
"""The stages that create a table, in order. Each table after the first is built from the previous one."""


def asset_before(stage: ProjectStage) -> str:
    """Return the name of the asset that a stage works on, which is the output of the previous stage.

    Raises:
        ValueError: `stage` is the first stage of `PROJECT_WAY`, or is not one of its stages.
    """
    stages = list(PROJECT_WAY)
    return PROJECT_WAY[stages[stages.index(stage, 1) - 1]].asset


_V, _PV = VideoStatus, ProjectVideoStatus

# A claim (catalog/claims.py) guards the working statuses. A working status without a live claim is set back one step.
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

# The claim on a project guards its working stages. Its holder may begin any stage from any state. The stage can run if
# the tables of the earlier stages exist.
PROJECT_TRANSITIONS: Mapping[ProjectStage, frozenset[ProjectStage]] = {
    stage: frozenset({*PROJECT_WAY, ProjectStage.SOURCING, ProjectStage.FAILED})
    | ({PROJECT_WAY[stage].waiting, STAGE_AFTER[stage]} if stage in PROJECT_WAY else set())
    for stage in ProjectStage
}
