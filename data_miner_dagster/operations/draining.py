"""Process one batch of videos after another in the same run, so that all batches share a process and a loaded model.

Belongs here: choosing the next batch, for several stages in parallel, and ending each batch. Does not belong here: a
stage's work on its videos, finding due videos (catalog/batches.py), and classifying failed runs (run_failures.py).
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from data_miner_dagster.catalog.batches import MAX_ITEMS, Batch, end_batch, set_run, take_batch
from data_miner_dagster.domain.at_work import inheriting_thread, working_on
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.item_faults import attempt_extra
from data_miner_dagster.operations.platform import Platform, ReportVideo
from data_miner_dagster.operations.run_failures import failure_of_run
from data_miner_dagster.operations.tracing import span

DRAIN_SECONDS: Final = 900.0
"""After this time a run takes no more batches, to give other runs a turn in its pool."""
PATIENCE_SECONDS: Final = 10.0
"""How long a run waits for work that is still in an earlier stage."""
NO_BATCH: Final = 0
"""The id of a `Batch` of explicitly named videos, which the catalog does not store."""
_LOOK_SECONDS: Final = 0.25
_STOP_SECONDS: Final = 5.0
"""How long a cancelled run waits for the items in progress. Claims on items that take longer expire."""
_MOST_TURNS: Final = 3
"""A drain stops taking batches of a stage if it has already tried each video of the next batch this many times."""
FULL_SECONDS: Final = 2.0
"""A running drain waits this long for a batch to fill up. The wait is short, because no process needs to be started."""


logger = logging.getLogger(__name__)


class WorkOnVideos(Protocol):
    """A function that processes videos in a stage."""

    def __call__(
        self, platform: Platform, video_keys: Sequence[str], *, force: bool = False, report: ReportVideo | None = None
    ) -> list[VideoOutcome]:
        """Process videos, and pass each outcome to `report`.

        Videos with current results are processed again only with `force`. Return one outcome per video, in the order of
        `video_keys`.
        """


def work_of(stage: WorkStage) -> WorkOnVideos:
    """Import and return the function that processes videos in a stage.

    Raises:
        ValueError: the stage processes projects rather than videos.
    """
    match stage:
        case WorkStage.DOWNLOADING:
            from data_miner_dagster.operations.downloading.download_videos import download_videos

            return download_videos
        case WorkStage.EXTRACTION:
            from data_miner_dagster.operations.extraction.extract_frames import extract_frames

            return extract_frames
        case WorkStage.EMBEDDING:
            from data_miner_dagster.operations.embedding.embed_frames import embed_frames

            return embed_frames
    raise ValueError(f"stage {stage.value} processes projects rather than videos")


@dataclass(frozen=True, slots=True)
class Drain:
    """The stages and limits of one drain, and its callbacks."""

    platform: Platform
    stages: tuple[WorkStage, ...]
    run_id: str
    """The id of the Dagster run."""
    report: Callable[[WorkStage, VideoOutcome], None]
    """Called with the stage and the outcome as each video finishes."""
    on_batch: Callable[[Batch], None] = lambda _batch: None
    """Called before the work on a batch begins."""
    project: str | None = None
    """The project whose videos are processed, or None to process the videos of all projects."""
    max_items: Mapping[WorkStage, int] = field(default_factory=dict)
    """The largest number of videos in a batch, for each stage that does not use the default."""
    full_seconds: float = FULL_SECONDS
    """After this many seconds a batch starts even if it is not full."""
    force: bool = False
    """True to process videos again even if their results are current."""


def drain(
    work: Drain,
    first: Batch | None = None,
    *,
    may_take: Callable[[], bool],
    may_wait: Callable[[float], bool],
) -> Counter[OutcomeStatus]:
    """Process one batch after another. Return the number of reported outcomes, by status.

    A video that is tried again in the same run is counted each time.

    A single stage runs in the calling thread, so that an interrupt ends it immediately. Several stages run in parallel,
    each in its own thread.

    Args:
        work: the stages to drain, with their callbacks.
        first: a batch that this run has already taken, or None.
        may_take: returns whether this run may take another batch.
        may_wait: returns whether to wait for work, given the seconds already waited.

    Raises:
        Exception: a batch failed as a whole. The failure is recorded, and no further batch is started.
    """
    crew = _Crew(work)
    try:
        if first is not None:
            crew.begin(first)
        idle_since: float | None = None
        while True:
            num_begun = crew.begin_next() if may_take() else 0
            if not crew.is_idle:
                crew.wait()
            if num_begun or not crew.is_idle:
                idle_since = None
                continue
            idle_since = time.monotonic() if idle_since is None else idle_since
            if not may_take() or not may_wait(time.monotonic() - idle_since):
                return crew.counts
            time.sleep(_LOOK_SECONDS)
    except BaseException as error:
        crew.stop("the run failed" if isinstance(error, Exception) else "the run was interrupted")
        raise


class StoppedError(Exception):
    """Raised to end a batch when a video is reported after the drain failed or was interrupted."""


class _Crew:
    """The stages of a drain, with at most one batch each."""

    def __init__(self, work: Drain) -> None:
        self.counts: Counter[OutcomeStatus] = Counter()
        self._work = work
        self._at_work: dict[WorkStage, threading.Thread] = {}
        self._ended: SimpleQueue[tuple[WorkStage, BaseException | None]] = SimpleQueue()
        self._turns: Counter[tuple[WorkStage, str]] = Counter()
        self._left: set[WorkStage] = set()
        self._lock = threading.Lock()
        self._why_stopped: str | None = None

    @property
    def is_idle(self) -> bool:
        """True if no stage has a batch."""
        return not self._at_work

    def is_free(self, stage: WorkStage) -> bool:
        """Return whether a stage may start a batch."""
        return stage not in self._at_work and stage not in self._left

    def next_batch(self, stage: WorkStage) -> Batch | None:
        """Take and return the next batch of a stage, or return None if there is none.

        If this run has already tried each video in the batch three times, the batch is ended, the result is None, and
        no more batches of the stage are taken.
        """
        work = self._work
        batch = take_batch(
            work.platform.database,
            stage,
            max_items=work.max_items.get(stage, MAX_ITEMS),
            project=work.project,
            must_be_full_until_seconds=work.full_seconds,
        )
        if batch is None:
            return None
        if all(self._turns[stage, key] >= _MOST_TURNS for key in batch.items):
            end_batch(work.platform.database, batch.id, f"unfinished after {_MOST_TURNS} tries in one run")
            self._left.add(stage)
            return None
        return batch

    def begin_next(self) -> int:
        """Start the next batch of each free stage, if there is one. Return the number of batches started."""
        num_begun = 0
        for stage in self._work.stages:
            if self.is_free(stage) and (batch := self.next_batch(stage)) is not None:
                self.begin(batch)
                num_begun += 1
        return num_begun

    def begin(self, batch: Batch) -> None:
        """Start a batch. If there is a single stage, return only when the batch has ended."""
        with working_on(stage=batch.stage.value.lower(), project=self._work.project):
            self._begin(batch)

    def _begin(self, batch: Batch) -> None:
        name = batch.stage.value.lower()
        set_run(self._work.platform.database, batch.id, self._work.run_id)
        logger.info("%s: a batch of %s begins", name, counted(len(batch.items), "video"))
        if len(self._work.stages) == 1:
            self._work_on(batch)
            return
        thread = inheriting_thread(self._work_aside, batch, name=name)
        self._at_work[batch.stage] = thread
        thread.start()

    def wait(self) -> None:
        """Wait at most a fraction of a second for a batch to end. Raise the exception of a batch that failed."""
        try:
            stage, error = self._ended.get(timeout=_LOOK_SECONDS)
        except Empty:
            return
        self._at_work.pop(stage).join()
        if error is not None:
            raise error

    def stop(self, why: str) -> None:
        """Make running batches end when they report their next video. Wait a few seconds for them to end.

        `why` is the reason that the catalog stores for the end of these batches.
        """
        self._why_stopped = why
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in self._at_work.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work_aside(self, batch: Batch) -> None:
        error: BaseException | None = None
        try:
            self._work_on(batch)
        except BaseException as raised:  # noqa: BLE001 - raised again in the thread that waits
            error = raised
        self._ended.put((batch.stage, error))

    def _work_on(self, batch: Batch) -> None:
        work, database = self._work, self._work.platform.database
        done: set[str] = set()

        def report(outcome: VideoOutcome) -> None:
            with self._lock:
                self.counts[outcome.status] += 1
                if outcome.status.exists:
                    done.add(outcome.video_key)
            work.report(batch.stage, outcome)
            if self._why_stopped is not None:
                raise StoppedError(f"stopped because {self._why_stopped}")

        try:
            work.on_batch(batch)
            with span(batch.stage.value.lower()):
                work_of(batch.stage)(work.platform, batch.items, force=work.force, report=report)
        except StoppedError as stopped:
            end_batch(database, batch.id, str(stopped), done=done)
        except Exception as error:
            end_failed_batch(work.platform, batch, error, done=done)
            raise
        else:
            undone = end_batch(database, batch.id, "finished", done=done)
            self._turns.update((batch.stage, key) for key in undone)


def end_failed_batch(platform: Platform, batch: Batch, error: Exception, *, done: Collection[str] = ()) -> None:
    """End a batch that failed as a whole, and record the failure as `failure_of_run` classifies it."""
    failure = failure_of_run(error, batch.stage, run_id=platform.run_id)
    end = partial(end_batch, platform.database, batch.id, failure.message, failure=failure, done=done)
    # If the catalog is unreachable, the batch stays open until a planner ends it.
    attempt_extra("batch", str(batch.id), end)


def work_on(
    platform: Platform, stage: WorkStage, video_keys: Sequence[str], *, force: bool, report: ReportVideo
) -> list[VideoOutcome]:
    """Process explicitly named videos. Videos that are due are marked as in flight, so that no other run takes them.

    Returns:
        One outcome per video, in the order of `video_keys`.

    Raises:
        Exception: the work failed as a whole. The failure is recorded if any of the videos was due.
    """
    keys = list(dict.fromkeys(video_keys))
    batch = take_batch(platform.database, stage, keys=keys, max_items=len(keys), must_be_full_until_seconds=0)
    if batch is None:
        return work_of(stage)(platform, video_keys, force=force, report=report)
    if platform.run_id is not None:
        set_run(platform.database, batch.id, platform.run_id)
    try:
        outcomes = work_of(stage)(platform, video_keys, force=force, report=report)
    except Exception as error:
        end_failed_batch(platform, batch, error)
        raise
    done = [outcome.video_key for outcome in outcomes if outcome.status.exists]
    end_batch(platform.database, batch.id, "finished", done=done)
    return outcomes
