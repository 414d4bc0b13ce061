"""The stages that planners ask for work, and what a failure of work concerns."""

from enum import StrEnum
from typing import Final


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


class FailureScope(StrEnum):
    """What a failure concerns, and so what waits because of it."""

    ITEM = "ITEM"  # one video or project
    BATCH = "BATCH"  # the process that worked on a batch died: one of its items may be at fault
    STAGE = "STAGE"  # whatever the stage works on next: a full disk, a missing model
