"""Isolate items from each other: an unexpected exception in one item does not stop the work on the others.

Every loop over items (videos, queries, entries of a listing, pictures, frames, project files, projects of a tick) runs
each item through `ItemGuard.attempt`, or through `attempt_alone` if the items have nothing in common. An exception from
the item's own code becomes an `ItemFault`, the other items continue, and the stage records the fault as that item's
outcome. The stage itself handles the errors that it expects from an item, inside the loop.

A fault is held back until another item succeeds, or until the batch ends. If no item has succeeded and all faults
(three or more) are the same, or if ten in a row are the same, the items are not the cause. The run then ends with a
`SystematicFaultError`, and nothing is recorded for any item: a bug that affects everything must not look like bad data.
System errors or lack of memory that affect everything are an outage (`OutageError`), which may pass without an update.
"""

import errno
import logging
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar

import data_miner_dagster
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.failures import DATABASE_ERROR, concerns_database
from data_miner_dagster.catalog.renewal import note_progress
from data_miner_dagster.catalog.upkeep import record_internal_error
from data_miner_dagster.domain.at_work import working_on
from data_miner_dagster.domain.errors import (
    CatalogError,
    ClaimLostError,
    ConfigError,
    DamagedFileError,
    DataMinerError,
    ModelError,
    OutageError,
    OutOfDateError,
    RunEndedError,
    SystematicFaultError,
    TransientError,
)
from data_miner_dagster.domain.full_disks import is_disk_full
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import FailureKind, WorkStage
from data_miner_dagster.operations.logs import redacted
from data_miner_dagster.stages.embedding import is_out_of_memory
from data_miner_dagster.workers.errors import WorkerFaultError, WorkersClosedError

IN_A_ROW: Final = 10
"""This many consecutive items with the same fault show that the items are not the cause."""
SMALLEST_BATCH: Final = 3
"""The smallest number of items whose common fault counts as general. One or two items prove nothing."""

_MAX_LINE: Final = 400
_PACKAGE: Final = Path(data_miner_dagster.__file__).parent
_OF_THE_MACHINE: Final = frozenset({errno.EROFS, errno.EMFILE, errno.ENFILE})

_OF_ALL: Final = (
    CatalogError,
    ClaimLostError,
    ConfigError,
    DamagedFileError,
    ModelError,
    OutageError,
    OutOfDateError,
    RunEndedError,
    SystematicFaultError,
    WorkersClosedError,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)
"""The logger of unexpected exceptions, with tracebacks. Assets copy its messages to their run's log."""


@dataclass(frozen=True, slots=True)
class ItemFault:
    """An exception that an item raised. `line` is human-readable and contains no secrets.

    `line` is `Class: message (<folder>/<file>.py:line)`, or only the message if the error is a `DataMinerError`.
    """

    line: str
    error_class: str
    place: str  # the innermost stack frame in our own package, or "" if there is none
    # If the error may pass, the `FailureKind` of the outage that it indicates when it occurs on every item; else None.
    outage: str | None = None

    @property
    def signature(self) -> tuple[str, str]:
        """The values that faults with the same cause share. They omit the message, which often names the item."""
        return (self.error_class, self.place)


def concerns_all_items(error: BaseException) -> bool:
    """Return whether an error concerns all items, so that it passes through a guard and ends the run.

    - `CatalogError`: the catalog is damaged, which affects every item.
    - `DamagedFileError`: the holder of the claim removes the file, and the next attempt recreates it.
    - `ConfigError`, `ModelError`: a setting or a model is wrong or missing, which affects every item. If only one item
      is affected (a source whose variable is not set, a file of the watched folder), the loop catches the error itself.
    - `OutOfDateError`: the tables of the stages do not match each other, or an earlier version wrote one of them.
    - `ClaimLostError`, `RunEndedError`: another process has taken over the work, and this one stops.
    - `SystematicFaultError`, `OutageError`: an inner loop raised them.
    - `TransientError` itself: it concerns the platform (a catalog that cannot be opened). Its subclasses that are not
      listed here, such as `VideoTransientError` and `WorkerDiedError`, concern the item.
    - `WorkersClosedError`: the batch is being shut down.
    - The catalog is unreachable or damaged (`concerns_database`). An error in one row concerns only its item.
    - Nothing can be written: a full disk or quota (`is_disk_full`), or `OSError` with EROFS. Reading never raises
      these, so a source does not cause them. A `DataMinerError` about a full disk concerns its item, unless its class
      is listed above.
    - `OSError` with EMFILE or ENFILE: the process can open no more files. EACCES, ENOENT, EIO and ESTALE are different:
      they often concern a single path, and if they concern everything, they occur on every item.

    A `MemoryError` belongs to the item that needed too much. If memory is short for all items, all of them raise it.
    `KeyboardInterrupt`, `SystemExit` and Dagster's interrupt are not subclasses of `Exception`, so guards ignore them.
    """
    if isinstance(error, _OF_ALL):
        return True
    if type(error) is TransientError:
        return True
    if isinstance(error, DATABASE_ERROR):
        return concerns_database(error)
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        return True
    return not isinstance(error, DataMinerError) and is_disk_full(error)


def fault_of(error: Exception) -> ItemFault:
    """Return the fault to store for an item's exception."""
    if isinstance(error, WorkerFaultError):
        return ItemFault(_line(str(error), error.place), error.class_name, error.place)
    if isinstance(error, DataMinerError):  # raised on purpose, with a message that is already meant for the user
        return ItemFault(_one_line(_message_of(error), 2 * _MAX_LINE), type(error).__name__, _place_of(error))
    name, message, place = type(error).__name__, _message_of(error), _place_of(error)
    return ItemFault(_line(f"{name}: {message}" if message else name, place), name, place, _outage_of(error))


def is_of_system(error: BaseException) -> bool:
    """Return whether an error comes from the system (an unreadable file, lack of memory) and may be temporary."""
    return _outage_of(error) is not None


def _outage_of(error: BaseException) -> str | None:
    with suppress(Exception):  # an exception's text comes from foreign code
        if is_out_of_memory(error):
            return FailureKind.MEMORY
    return FailureKind.STORE if isinstance(error, OSError) else None


def attempt_alone(stage: str, item: str, work: Callable[[], T]) -> T | ItemFault:
    """Return the result of `work`, or log and return its fault. Use this for independent items, such as project files.

    Raises:
        Exception: the error concerns all items (`concerns_all_items`).
    """
    try:
        return work()
    except Exception as error:
        if concerns_all_items(error):
            raise
        return log_fault(stage, item, error)


def attempt_extra(stage: str, item: str, work: Callable[[], T]) -> T | ItemFault:
    """Return the result of `work`, or log and return its fault. Use this for results that nothing depends on.

    For example, a release is valid without its report.
    """
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - it is logged, and shown instead of the result
        return log_fault(stage, item, error)


def may_pass(error: BaseException) -> bool:
    """Return whether running again soon after an error may succeed.

    This is the case for a `DataMinerError` that is transient or reports a full disk. An exception of any other class
    may pass if it concerns all items.
    """
    if isinstance(error, DataMinerError):
        return isinstance(error, TransientError) or is_disk_full(error)
    return concerns_all_items(error)


@contextmanager
def item_guard(stage: str, known_faulty: Collection[str] = (), *, are_videos: bool = True) -> "Iterator[ItemGuard]":
    """Yield a guard for one batch of items. Faults that the guard still holds are recorded when the block ends.

    If the block raises, the held faults are not recorded, because the block's exception may have caused them.

    Args:
        stage: the name of the work on the items, for messages.
        known_faulty: items that had an internal error before. Their faults are recorded immediately and are not counted
            as signs of a general fault, because a retry may combine faulty items from many batches.
        are_videos: True if the items are video keys, which are then named in log messages.

    Raises:
        SystematicFaultError: all faults (three or more) are the same and no item succeeded, or ten in a row are the
            same.
        OutageError: all faults (three or more) are the same temporary one and no item succeeded, ten in a row are the
            same temporary one, or three videos failed for lack of disk space with no success in between.
    """
    guard = ItemGuard(stage, known_faulty, are_videos=are_videos)
    yield guard
    guard.finish()


class ItemGuard:
    """Isolates the items of one batch from each other. Thread-safe."""

    def __init__(self, stage: str, known_faulty: Collection[str] = (), *, are_videos: bool = True) -> None:
        self._stage = stage
        self._are_videos = are_videos
        self._known_faulty = frozenset(known_faulty)
        self._lock = threading.Lock()
        self._held: list[tuple[str, ItemFault, Callable[[ItemFault], object]]] = []
        self._row: dict[str, ItemFault] = {}  # by item, all with one signature
        self._has_succeeded = False
        self._is_systematic = False
        self._num_without_room = 0  # consecutive outcomes

    def attempt(
        self, item: str, work: Callable[[], T], on_fault: Callable[[ItemFault], object], *, proves: bool = True
    ) -> T | None:
        """Return the result of `work`, or None if it raised an unexpected exception, which `on_fault` later records.

        `on_fault` is called, possibly in another thread, once the fault is known to belong to the item. If the fault
        turns out to concern all items, `on_fault` is not called. Several faults of one item (frames of a video) count
        once. A result counts as a success, except for a `VideoOutcome` other than DONE. With `proves=False`, no result
        counts as a success; use that for every step on an item except the last.

        Raises:
            SystematicFaultError: this is the tenth item in a row with the same fault.
            OutageError: this is the tenth item in a row with the same temporary fault, or the third without disk space.
            Exception: the error concerns all items (`concerns_all_items`).
        """
        note_progress()
        with working_on(video=item if self._are_videos else None):
            try:
                result = work()
            except Exception as error:
                if concerns_all_items(error):
                    raise
                self._hold(item, log_fault(self._stage, item, error), on_fault)
                return None
        if isinstance(result, VideoOutcome) and result.status is OutcomeStatus.FAILED:
            self._note_room(result)
        if proves and (not isinstance(result, VideoOutcome) or result.status is OutcomeStatus.DONE):
            self.succeed()
        return result

    def _note_room(self, outcome: VideoOutcome) -> None:
        """Count `outcome` if its video failed for lack of disk space, and raise at the third such video.

        A single video may be too large for the disk, but after several the disk counts as full.

        Raises:
            OutageError: three videos have failed for lack of disk space, with no success in between.
        """
        with self._lock:
            self._num_without_room += outcome.error_kind is VideoErrorKind.DISK_FULL
            if self._num_without_room < SMALLEST_BATCH:
                return
        raise OutageError(FailureKind.DISK_FULL, outcome.message)

    def holds(self, item: str) -> bool:
        """Return whether an item's fault is held back."""
        with self._lock:
            return any(name == item for name, _, _ in self._held)

    def succeed(self) -> None:
        """Note that an item has succeeded. Record the faults that were held back, each for its own item."""
        with self._lock:
            self._has_succeeded = True
            self._num_without_room = 0
            self._row.clear()
            held, self._held = self._held, []
            if self._is_systematic:  # another thread has already raised
                return
        _record(held)

    def finish(self) -> None:
        """Record the faults that are still held.

        Raises:
            SystematicFaultError: no item has succeeded, and all faults (three or more) are the same permanent one.
            OutageError: no item has succeeded, and all faults (three or more) are the same temporary one.
        """
        with self._lock:
            held, self._held = self._held, []
            items = {item for item, _, _ in held}
            signatures = {fault.signature for _, fault, _ in held}
            is_of_all = len(items) >= SMALLEST_BATCH and len(signatures) == 1 and not self._has_succeeded
            if self._is_systematic:
                return
        if is_of_all:
            raise self._systematic(held[0][1], f"all {counted(len(items), 'item')}")
        _record(held)

    def _hold(self, item: str, fault: ItemFault, on_fault: Callable[[ItemFault], object]) -> None:
        if item in self._known_faulty:
            on_fault(fault)
            return
        with self._lock:
            if self._row and next(iter(self._row.values())).signature != fault.signature:
                self._row.clear()
            self._row[item] = fault
            self._held.append((item, fault, on_fault))
            if len(self._row) < IN_A_ROW:
                return
            self._is_systematic = True
        raise self._systematic(fault, f"{IN_A_ROW} items in a row")

    def _systematic(self, fault: ItemFault, which: str) -> SystematicFaultError | OutageError:
        if fault.outage is not None:
            return OutageError(
                fault.outage,
                f"{self._stage}: {which} failed with the same error: {fault.line}; nothing was recorded for them; fix "
                "the cause (disk, mount, permissions, memory) and run again; `data-miner up` retries automatically",
            )
        return SystematicFaultError(
            f"{self._stage}: {which} failed with the same internal error, which is a fault of this program and not of "
            f"the data: {fault.line}; nothing was recorded for them; update data-miner, or report this line, then run "
            "again"
        )


def record_item_fault(
    database: Database, video_key: str, fault: ItemFault, *, stage: WorkStage, only_from: Collection[VideoStatus]
) -> VideoOutcome:
    """Record a fault as the failure of a video, if the video's status is in `only_from`. Return the outcome FAILED."""
    may_pass = fault.outage is not None
    record_internal_error(database, video_key, fault.line, only_from=only_from, stage=stage, may_pass=may_pass)
    kind = VideoErrorKind.TRANSIENT if may_pass else VideoErrorKind.INTERNAL_ERROR
    return VideoOutcome(video_key, OutcomeStatus.FAILED, kind, fault.line)


def _record(held: list[tuple[str, ItemFault, Callable[[ItemFault], object]]]) -> None:
    for _, fault, on_fault in held:
        on_fault(fault)


def log_fault(stage: str, item: str, error: Exception) -> ItemFault:
    """Log an item's exception, with a traceback if it is unexpected. Return the fault."""
    fault = fault_of(error)
    if isinstance(error, WorkerFaultError):
        error.add_note(f"In the worker:\n{error.trace}")
    is_expected = isinstance(error, DataMinerError)  # its message says everything
    logger.error("%s: %s: %s", stage, item, fault.line, exc_info=None if is_expected else error)
    return fault


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001 - an exception's text comes from foreign code
        return f"(its message cannot be read: {type(failure).__name__})"


def _line(what: str, place: str) -> str:
    return f"{_one_line(what, _MAX_LINE - len(place) - 3)} ({place})" if place else _one_line(what)


def _one_line(text: str, max_length: int = _MAX_LINE) -> str:
    """Return a string as one line of at most `max_length` characters, without secrets or unprintable characters."""
    printable = "".join(character if character.isprintable() else " " for character in text[: 4 * _MAX_LINE])
    line = redacted(" ".join(printable.split()))
    return line if len(line) <= max_length else f"{line[: max_length - 1]}…"


def _place_of(error: BaseException) -> str:
    """Return `<folder>/<file>.py:line` of the innermost stack frame in our own package, or "" if there is none."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if (inside := _path_in_package(frame)) is not None:
            place = f"{inside}:{line}"
    return place


def _path_in_package(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(_PACKAGE) or path == Path(__file__) or path.parent.name == "workers":
        return None  # not ours, or a frame that every fault passes through
    return path.relative_to(_PACKAGE).as_posix()
