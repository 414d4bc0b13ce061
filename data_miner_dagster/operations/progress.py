"""Report the progress of long work and the remaining time, for the log and `data-miner status`.

Belongs here: log lines at regular intervals, and their figures from the catalog. Does not belong here: the estimate
(stages/remaining.py).
"""

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cache, partial
from itertools import chain
from typing import Final

from data_miner_dagster.catalog.claims import live_claims
from data_miner_dagster.catalog.database import Session, now_of
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.catalog.remaining_work import (
    LeftVideo,
    WorkedVideo,
    expected_frames,
    left_videos,
    projects_with_work,
    runs_at_work,
    seconds_a_frame,
    without_loading,
    work_before,
    work_of_this_run,
)
from data_miner_dagster.catalog.work_tables import RunLeaseRow
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.addresses import Origin, host_of
from data_miner_dagster.domain.at_work import inheriting_thread
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage
from data_miner_dagster.models.provider import seconds_of_loading
from data_miner_dagster.operations.item_faults import attempt_extra
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.keys import site_of_key
from data_miner_dagster.stages.remaining import DoneVideo, OpenVideo, StageWork, remaining_seconds, share_done

LINE_SECONDS: Final = 60.0
"""Seconds between two log lines about progress."""
_FIRST_LINE_SECONDS: Final = 10.0
_MOST_READ: Final = 5000
"""The largest number of due videos to read, over all projects.

If more are due, each video that is read represents several.
"""
_FEWEST_READ: Final = 200
"""The smallest number of due videos that are read per project when there are many projects."""
_BUILD: Final = (WorkStage.FILTERING, WorkStage.DEDUPLICATION, WorkStage.DETECTION, WorkStage.RELEASING)

_WorkBefore = Callable[[WorkStage], Sequence[WorkedVideo]]
"""Returns a stage's latest work, in any run and project."""

logger = logging.getLogger(__name__)
"""Assets copy the lines of this logger to their run's log."""


def time_text(seconds: float) -> str:
    """Return a remaining time as rounded text in seconds, minutes, hours or days, such as "35 s" or "1.5 h"."""
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def left_text(share: float, seconds: float | None) -> str:
    """Return the completed share and, unless it is None, the remaining time as text."""
    return f"{100 * share:.0f} %" + ("" if seconds is None else f", about {time_text(seconds)} left")


# --- a known number of steps ---


class Steps:
    """Counts steps of similar size. Logs at most a line a minute, and stores the count in the current run's lease.

    Args:
        what: the work, as the start of a sentence, such as "detection: yolo has examined".
        unit: the noun for the steps, in the plural.
        total: the number of steps.
        platform: the platform of the current run, or None to store nothing.
    """

    def __init__(self, what: str, unit: str, total: int, platform: Platform | None = None) -> None:
        self._what = what
        self._unit = unit
        self._total = total
        self._platform = platform
        self._lock = threading.Lock()
        self._num_done = 0
        self._pace_since: tuple[float, int] | None = None  # seconds of work, and steps, that the pace does not include
        self._line_at = time.monotonic() + _FIRST_LINE_SECONDS
        self._tell_run()

    @property
    def share(self) -> float:
        """The completed share, from 0 to 1."""
        return self._num_done / self._total if self._total else 1.0

    @property
    def remaining_seconds(self) -> float | None:
        """The remaining time at the current pace. It is None until there is a pace, and after the last step.

        The pace is measured from the first completed step, excluding the time in which this thread loaded models.
        Before that step, the work loads its model, starts its processes and so on.
        """
        if self._pace_since is None or self._num_done >= self._total:
            return None
        seconds, num_before = self._pace_since
        num_since = self._num_done - num_before
        return (_seconds_of_work() - seconds) * (self._total - self._num_done) / num_since if num_since else None

    @property
    def line(self) -> str:
        """The progress as a single line."""
        done = f"{self._num_done:,} of {self._total:,} {self._unit}"
        return f"{self._what} {done}: {left_text(self.share, self.remaining_seconds)}"

    def advance(self, num_steps: int = 1) -> None:
        """Add to the count of completed steps, and log the progress if a line is due."""
        with self._lock:
            self._num_done += num_steps
            if self._pace_since is None:
                self._pace_since = _seconds_of_work(), self._num_done
            now = time.monotonic()
            is_due = now >= self._line_at
            if is_due:
                self._line_at = now + LINE_SECONDS
        self._tell_run()
        if is_due:
            logger.info("%s", self.line)

    def reach(self, num_done: int) -> None:
        """Set the count of completed steps, including those of other runs. The count never decreases."""
        self.advance(max(0, num_done - self._num_done))

    def tell(self) -> None:
        """Log the progress now."""
        self._line_at = time.monotonic() + LINE_SECONDS
        logger.info("%s", self.line)

    def _tell_run(self) -> None:
        if self._platform is not None:
            self._platform.tell_steps(self._num_done, self._total, self.remaining_seconds)


def _seconds_of_work() -> float:
    """Return the reading of a monotonic clock that is paused while this thread loads a model."""
    return time.monotonic() - seconds_of_loading()


# --- videos, and what follows them ---


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of the work on a project's videos, or on all videos if `project` is None."""

    project: str | None
    share_done: float
    """The completed share of the work on videos, from 0 to 1, counted since work last paused for five minutes."""
    remaining_seconds: float | None
    """The estimated remaining time, or None if there is nothing to estimate it from yet."""
    num_open: int
    """The number of videos that are due."""
    is_with_build: bool
    """True if the remaining time includes the stages from filtering to releasing, at the speed of earlier runs."""

    @property
    def line(self) -> str:
        """The progress as one human-readable line."""
        name = f"{self.project}: " if self.project is not None else ""
        until = " until its release" if self.is_with_build else ""
        left = left_text(self.share_done, self.remaining_seconds)
        return f"{name}{counted(self.num_open, 'video')} to go: {left}{until}"


def progress_of(platform: Platform, project: str | None = None) -> Progress | None:
    """Return the progress of the work on a project's videos, or on all videos if `project` is None.

    The result is None if no video is due.
    """
    with platform.database.reading() as session:
        return _progress_of(session, platform.config, project, cache(partial(work_before, session)), _MOST_READ)


def _progress_of(
    session: Session, config: PlatformConfig, project: str | None, before: _WorkBefore, most_read: int
) -> Progress | None:
    now = now_of(session)
    left, num_left = left_videos(session, project, now, most_read)
    if not left:
        return None
    worked = without_loading(work_of_this_run(session, project, now))
    stages = _stages_of(config, left, worked, now, before)
    stages = [replace(stage, open_stands_for=num_left / len(left)) for stage in stages]
    seconds_a_filtered_frame = seconds_a_frame(session) if project is not None else {}
    num_frames = expected_frames(session, project) if project is not None and seconds_a_filtered_frame else 0.0
    elapsed = max(((now - video.began_at).total_seconds() for video in worked), default=0.0)
    for_videos = remaining_seconds(stages, elapsed_seconds=max(elapsed, 1e-3), num_cores=os.cpu_count() or 1)
    build = num_frames * sum(seconds_a_filtered_frame.get(stage, 0.0) for stage in _BUILD)
    return Progress(
        project,
        share_done(stages),
        None if for_videos is None else for_videos + build,
        num_left,
        is_with_build=for_videos is not None and build > 0,
    )


def _stages_of(
    config: PlatformConfig,
    left: Sequence[LeftVideo],
    worked: Sequence[WorkedVideo],
    now: datetime,
    before: _WorkBefore,
) -> list[StageWork]:
    known = chain((video.duration_seconds for video in left), (video.duration_seconds for video in worked))
    durations = [seconds for seconds in known if seconds]
    usual = sum(durations) / len(durations) if durations else 0.0
    by_stage: defaultdict[WorkStage, list[WorkedVideo]] = defaultdict(list)
    for video in worked:
        by_stage[video.stage].append(video)
    order = list(VIDEO_STAGES)
    return [
        StageWork(
            done=[_done(video, usual) for video in by_stage[stage]],
            open=[
                _open(video, stage, usual, now, may_load=not by_stage[stage])
                for video in left
                if order.index(video.stage) <= order.index(stage)
            ],
            most_at_once=_most_at_once(config)[stage],
            seen_seconds=max(((now - video.began_at).total_seconds() for video in by_stage[stage]), default=0.0),
            earlier=[] if by_stage[stage] else [_done(video, usual) for video in without_loading(before(stage))],
        )
        for stage in order
    ]


def _most_at_once(config: PlatformConfig) -> Mapping[WorkStage, int]:
    return {
        WorkStage.DOWNLOADING: config.downloading.concurrent_downloads,
        WorkStage.EXTRACTION: config.extraction.workers or os.cpu_count() or 1,
        WorkStage.EMBEDDING: 1,
    }


def _done(video: WorkedVideo, usual: float) -> DoneVideo:
    return DoneVideo(
        video.duration_seconds or usual,
        video.wall_seconds,
        video.cpu_seconds,
        _site_of(video) if video.stage is WorkStage.DOWNLOADING else "",
        is_lost=video.is_failed,
    )


def _open(video: LeftVideo, stage: WorkStage, usual: float, now: datetime, *, may_load: bool) -> OpenVideo:
    """Return an `OpenVideo` for a stage that `video` has not passed.

    With `may_load`, the result has no elapsed time in embedding, because the stage may still be loading its model.
    """
    is_at_work = video.claimed_at is not None and video.stage is stage
    is_at_work = is_at_work and not (may_load and stage is WorkStage.EMBEDDING)
    return OpenVideo(
        video.duration_seconds or usual,
        _site_of(video) if stage is WorkStage.DOWNLOADING else "",
        (now - video.claimed_at).total_seconds() if is_at_work and video.claimed_at is not None else None,
        may_be_lost=video.stage is WorkStage.DOWNLOADING,
    )


def _site_of(video: LeftVideo | WorkedVideo) -> str:
    if video.origin is Origin.LOCAL:
        return "local"
    return site_of_key(video.video_key) or host_of(video.url)


@dataclass(frozen=True, slots=True)
class RunProgress:
    """The progress of a run with a known number of steps. `project` is None if the run works on several projects."""

    job: str
    project: str | None
    num_done: int
    num_total: int
    remaining_seconds: float | None
    """The remaining time as estimated by the run, or None if there is nothing to estimate it from yet."""

    @property
    def line(self) -> str:
        """The progress as one human-readable line."""
        name = f"{self.project}: " if self.project is not None else ""
        left = left_text(self.num_done / self.num_total, self.remaining_seconds)
        return f"{name}{self.job}: step {self.num_done:,} of {self.num_total:,}: {left}"


@dataclass(frozen=True, slots=True)
class Standing:
    """The progress of everything that is due or in progress."""

    videos: tuple[Progress, ...]
    """One entry for each project that has videos due."""
    runs: tuple[RunProgress, ...]
    num_at_work: int
    """The number of live claims. If `standing_of` was given a project, only claims on it and its videos count."""

    @property
    def is_over(self) -> bool:
        """True if nothing is due or in progress."""
        return not (self.videos or self.runs or self.num_at_work)

    @property
    def lines(self) -> list[str]:
        """One line per project and run."""
        return [*(one.line for one in self.videos), *(one.line for one in self.runs)]

    def as_json(self) -> list[dict[str, object]]:
        """Return one JSON object per project and per run, with `videos` or `run` as its `kind`."""
        videos = [{"kind": "videos", **asdict(one)} for one in self.videos]
        return [*videos, *({"kind": "run", **asdict(one)} for one in self.runs)]


def standing_of(platform: Platform, project: str | None = None) -> Standing:
    """Return the progress of one project, or of every project if `project` is None."""
    database = platform.database
    names = [row.name for row in find_projects(database) if project in (None, row.name)]
    with database.reading() as session:
        now = database.now(session)
        runs = [_run_of(row, now) for row in runs_at_work(session, now) if project in (None, row.project)]
        with_work = projects_with_work(session, now)
        names = [name for name in names if name in with_work]
        most_read = max(_FEWEST_READ, _MOST_READ // max(1, len(names)))
        before = cache(partial(work_before, session))
        videos = [_progress_of(session, platform.config, name, before, most_read) for name in names]
    return Standing(tuple(filter(None, videos)), tuple(runs), len(live_claims(database, project)))


def _run_of(row: RunLeaseRow, now: datetime) -> RunProgress:
    total = row.num_total or 1
    # If the run has exceeded its estimate, nothing is known about the remaining time.
    left = (row.ends_at - now).total_seconds() if row.ends_at is not None and row.ends_at > now else None
    return RunProgress(row.job, row.project, min(row.num_done, total), total, left)


@contextmanager
def telling_progress(platform: Platform, project: str | None = None) -> Iterator[None]:
    """Log the progress of a project's videos, or of all videos, every minute while the block runs."""
    is_over = threading.Event()

    def tell() -> None:
        while not is_over.wait(LINE_SECONDS):
            found = attempt_extra("progress", project or "all videos", lambda: progress_of(platform, project))
            if isinstance(found, Progress):
                logger.info("%s", found.line)

    thread = inheriting_thread(tell, name="progress")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
