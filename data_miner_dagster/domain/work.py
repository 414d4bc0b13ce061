"""The stages for which planners request work, the kinds and scopes of failures, shards, and the tags of batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from data_miner_dagster.domain.statuses import PROJECT_WAY


class WorkStage(StrEnum):
    """A stage for which work is planned. In each package, a module for one stage is named after that stage."""

    SOURCING = "SOURCING"
    DOWNLOADING = "DOWNLOADING"
    EXTRACTION = "EXTRACTION"
    EMBEDDING = "EMBEDDING"
    FILTERING = "FILTERING"
    DEDUPLICATION = "DEDUPLICATION"
    DETECTION = "DETECTION"
    RELEASING = "RELEASING"


VIDEO_STAGES: Final = (WorkStage.DOWNLOADING, WorkStage.EXTRACTION, WorkStage.EMBEDDING)
"""The stages that work on videos, in order. All other stages work on projects."""

ASSETS: Final[Mapping[WorkStage, str]] = {
    WorkStage.SOURCING: "project_videos",
    WorkStage.DOWNLOADING: "videos",
    WorkStage.EXTRACTION: "frames",
    WorkStage.EMBEDDING: "frame_embeddings",
    **{WorkStage(stage.value): place.asset for stage, place in PROJECT_WAY.items()},
}
"""The name of the asset that each stage creates, in the order of the stages."""


def stage_of_asset(asset: str) -> WorkStage | None:
    """Return the stage that creates an asset, or None if no stage creates an asset of this name."""
    return next((stage for stage, name in ASSETS.items() if name == asset), None)


class FailureScope(StrEnum):
    """The work that a failure affects, and that waits because of it."""

    ITEM = "ITEM"  # one video or project
    BATCH = "BATCH"  # the process that worked on a batch died: one of its items may be at fault
    STAGE = "STAGE"  # any work of the stage: a full disk, a missing model


class FailureKind(StrEnum):
    """The reason why a run failed, other than a single video's reason (`VideoErrorKind`). Values are stored."""

    # affects every item, and closes the gate of the stage
    DISK_FULL = "disk_full"
    STORE = "store"  # read-only, unmounted or broken
    DATABASE = "database"
    MODEL = "model"  # missing, or different from the pinned one
    GPU_MEMORY = "gpu_memory"
    MEMORY = "memory"
    NETWORK = "network"
    SETTINGS = "settings"
    CRASHED = "crashed"  # processes die, whatever they are working on
    OTHER_OUTAGE = "outage"
    # affects one project
    NOTHING_TO_RELEASE = "nothing_to_release"
    OUT_OF_DATE = "out_of_date"
    DAMAGED_FILE = "damaged_file"
    FAILED = "failed"
    # not a failure of anything
    TAKEN_OVER = "taken_over"  # another worker has the work now
    # a fault of this program
    SYSTEMATIC_FAULT = "systematic_fault"
    INTERNAL_ERROR = "internal_error"

    @property
    def is_of_program(self) -> bool:
        """True if this program is at fault. Another version may not have the fault."""
        return self in (FailureKind.SYSTEMATIC_FAULT, FailureKind.INTERNAL_ERROR)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt at an item, or at any work of a stage."""

    kind: str  # a `FailureKind`, or the `VideoErrorKind` of a video
    message: str  # one line for people
    scope: FailureScope = FailureScope.ITEM
    run_id: str | None = None
    basis: str | None = None  # fingerprint of the inputs that failed; the failure does not apply to other inputs


@dataclass(frozen=True, slots=True)
class ShardRange:
    """A contiguous range of the ordered items that a stage processes in one project."""

    first: str
    last: str  # inclusive
    start: int  # the number of items to process before this range
    size: int  # the number of items to process in this range


BATCH_TAG: Final = ".dagster/data_miner_batch"
"""The tag with the batch number on a Dagster run. Its prefix keeps the UI from showing it."""
BATCH_TAGS: Final = (BATCH_TAG, "data_miner/batch")
"""The names of the batch tag in this and earlier versions. Runs queued by an earlier version have the old name."""


def batch_in(tags: Mapping[str, str]) -> str | None:
    """Return the batch number from a run's tags, or None if the run has no batch."""
    return next((tags[name] for name in BATCH_TAGS if name in tags), None)


AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)
"""The due time of work that may be tried immediately."""
