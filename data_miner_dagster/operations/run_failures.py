"""Classify the exception that ended a run by scope and kind, and describe it in a human-readable line.

Belongs here: the classification of exceptions. Does not belong here: the consequences for items (catalog/charges.py),
and exceptions of single items (item_faults.py).
"""

import errno
from collections.abc import Iterator
from typing import Final

from data_miner_dagster.catalog.failures import DATABASE_ERROR, concerns_database
from data_miner_dagster.domain.errors import (
    CatalogError,
    ClaimLostError,
    ConfigError,
    DamagedFileError,
    DataMinerError,
    ModelError,
    NothingToReleaseError,
    OutageError,
    OutOfDateError,
    RunEndedError,
    SystematicFaultError,
    TransientError,
)
from data_miner_dagster.domain.full_disks import disk_full_line, is_disk_full
from data_miner_dagster.domain.work import VIDEO_STAGES, Failure, FailureKind, FailureScope, WorkStage
from data_miner_dagster.operations.item_faults import fault_of
from data_miner_dagster.stages.embedding import is_out_of_memory

_OF_THE_STORE: Final = frozenset(
    {errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
)
"""System errors indicating that a whole file system, or this process, no longer works."""


def failure_of_run(error: BaseException, stage: WorkStage, *, run_id: str | None = None) -> Failure:
    """Return the classified failure for the exception that ended a run of a stage.

    - The failure concerns the stage if it would occur on every item: a full or broken store, the catalog, a model that
      projects share, memory or the network. In a stage that processes videos, an invalid setting also concerns the
      stage, because all videos share the settings.
    - Otherwise, the failure concerns the project that the run was working on, or the videos of the batch.
    - If the run was ended, or another worker took over its work, the kind is TAKEN_OVER, which charges no item.
    """
    scope, kind = _meaning(error, stage)
    line = str(error) if isinstance(error, DataMinerError) else fault_of_any(error)
    if kind is FailureKind.DISK_FULL and not isinstance(error, DataMinerError):
        line = disk_full_line("the root")
    return Failure(kind, line, scope, run_id)


def fault_of_any(error: BaseException) -> str:
    """Return a human-readable line about any exception, or only its class name if it is not an `Exception`."""
    return fault_of(error).line if isinstance(error, Exception) else type(error).__name__


def _meaning(error: BaseException, stage: WorkStage) -> tuple[FailureScope, FailureKind]:
    if isinstance(error, ClaimLostError | RunEndedError):
        return FailureScope.ITEM, FailureKind.TAKEN_OVER
    if (outage := outage_of(error)) is not None:
        return FailureScope.STAGE, outage
    is_of_videos = stage in VIDEO_STAGES
    if isinstance(error, ModelError):
        return (FailureScope.ITEM if error.is_of_project else FailureScope.STAGE), FailureKind.MODEL
    if isinstance(error, ConfigError):
        return (FailureScope.STAGE if is_of_videos else FailureScope.ITEM), FailureKind.SETTINGS
    scope = FailureScope.BATCH if is_of_videos else FailureScope.ITEM
    for kind, classes in _OF_ITEMS.items():
        if isinstance(error, classes):
            return scope, kind
    if isinstance(error, OSError) and is_of_videos:
        return FailureScope.STAGE, FailureKind.STORE
    return scope, FailureKind.FAILED


_OF_ITEMS: Final = {
    FailureKind.SYSTEMATIC_FAULT: SystematicFaultError,
    FailureKind.DAMAGED_FILE: DamagedFileError,
    FailureKind.NOTHING_TO_RELEASE: NothingToReleaseError,
    FailureKind.OUT_OF_DATE: OutOfDateError,
}


def outage_of(error: BaseException) -> FailureKind | None:
    """Return the kind of outage that an error or one of its causes shows, or None if it shows none."""
    if isinstance(error, OutageError):
        return FailureKind(error.kind)
    if is_disk_full(error):
        return FailureKind.DISK_FULL
    if isinstance(error, CatalogError):
        return FailureKind.DATABASE
    for cause in _chain(error):
        if isinstance(cause, DATABASE_ERROR) and concerns_database(cause):
            return FailureKind.DATABASE
        if isinstance(cause, OSError) and cause.errno in _OF_THE_STORE:
            return FailureKind.STORE
        if is_out_of_memory(cause):
            is_of_host = isinstance(cause, MemoryError) or "OutOfMemory" not in type(cause).__name__
            return FailureKind.MEMORY if is_of_host else FailureKind.GPU_MEMORY
    return FailureKind.OTHER_OUTAGE if type(error) is TransientError else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its explicit causes."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__
