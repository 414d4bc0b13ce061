"""The stages that planners request work for, and what a failure of work concerns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from data_miner_dagster.domain.statuses import PROJECT_WAY


class WorkStage(StrEnum):
    """A stage for which work is planned, by the word that it has in every folder."""

    SOURCING = "SOURCING"
    DOWNLOADING = "DOWNLOADING"
    EXTRACTION = "EXTRACTION"
    EMBEDDING = "EMBEDDING"
    FILTERING = "FILTERING"
    DEDUPLICATION = "DEDUPLICATION"
    DETECTION = "DETECTION"
    RELEASING = "RELEASING"


VIDEO_STAGES: Final = (WorkStage.DOWNLOADING, WorkStage.EXTRACTION, WorkStage.EMBEDDING)
"""The stages that work on videos, in order. The others work on projects."""

ASSETS: Final[Mapping[WorkStage, str]] = {
    WorkStage.SOURCING: "project_videos",
    WorkStage.DOWNLOADING: "videos",
    WorkStage.EXTRACTION: "frames",
    WorkStage.EMBEDDING: "frame_embeddings",
    **{WorkStage(stage.value): place.asset for stage, place in PROJECT_WAY.items()},
}
"""The output of each stage, in order."""


def stage_of_asset(asset: str) -> WorkStage | None:
    """Return the stage that makes an asset, None of one that is not ours."""
    return next((stage for stage, name in ASSETS.items() if name == asset), None)


class FailureScope(StrEnum):
    """What a failure concerns, and so what waits because of it."""

    ITEM = "ITEM"  # one video or project
    BATCH = "BATCH"  # the process that worked on a batch died: one of its items may be at fault
    STAGE = "STAGE"  # any work of the stage: a full disk, a missing model


class FailureKind(StrEnum):
    """Why a run failed, where that is not the kind of one video's failure (`VideoErrorKind`). Stored."""

    # what every item meets: closes the gate of the stage
    DISK_FULL = "disk_full"
    STORE = "store"  # read-only, unmounted or broken
    DATABASE = "database"
    MODEL = "model"  # missing, or different from the pinned one
    GPU_MEMORY = "gpu_memory"
    MEMORY = "memory"
    NETWORK = "network"
    SETTINGS = "settings"
    CRASHED = "crashed"  # the processes die, whatever they work on
    OTHER_OUTAGE = "outage"
    # of one project
    NOTHING_TO_RELEASE = "nothing_to_release"
    OUT_OF_DATE = "out_of_date"
    DAMAGED_FILE = "damaged_file"
    FAILED = "failed"
    # of nothing
    TAKEN_OVER = "taken_over"  # another worker has the work now
    # a fault of this program
    SYSTEMATIC_FAULT = "systematic_fault"
    INTERNAL_ERROR = "internal_error"

    @property
    def is_of_program(self) -> bool:
        """True if another version of this package may not have the fault."""
        return self in (FailureKind.SYSTEMATIC_FAULT, FailureKind.INTERNAL_ERROR)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt at an item, or at everything that a stage does."""

    kind: str  # a `FailureKind`, or the `VideoErrorKind` of a video
    message: str  # one line for people
    scope: FailureScope = FailureScope.ITEM
    run_id: str | None = None
    basis: str | None = None  # fingerprint of the inputs; with others, the failure says nothing


@dataclass(frozen=True, slots=True)
class ShardRange:
    """Some of the items that a stage works on in one project: a range of them in their order."""

    first: str
    last: str  # inclusive
    start: int  # items before it that are to be processed
    size: int  # items in it that are to be processed


BATCH_TAG: Final = ".dagster/data_miner_batch"
"""Tag on a run of Dagster's that was given a batch: its number. Its prefix keeps the UI from showing it."""
BATCH_TAGS: Final = (BATCH_TAG, "data_miner/batch")
"""The tag, and its name in earlier versions, which runs may have that are queued while this version is installed."""


def batch_in(tags: Mapping[str, str]) -> str | None:
    """Return the batch number of a run with these tags; None without one."""
    return next((tags[name] for name in BATCH_TAGS if name in tags), None)


AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)
"""The due date of what may be tried now."""
