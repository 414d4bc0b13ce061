"""Estimate how long unfinished videos will take, based on the times of finished videos. Pure functions.

Each stage's time for a video is modelled as a linear function of the video's duration, with a factor for each site. The
line is fitted by least squares and never goes below zero. Two times are computed: one for all remaining work at the
pace so far, and one for the slowest stage on its own, with the observed number of parallel videos. While cores are
idle, the estimate is the shorter of the two. Once the cores are busy, it is their mean: the stages share the cores, so
a stage that later runs alone is faster than observed. The estimate is never below the remaining CPU time divided by the
number of cores. Before any work has been done, it is the time for the slowest stage on its own. Videos in progress are
included with the time that they have taken so far. Otherwise long videos, which finish last, would be ignored.

Does not belong here: reading the figures (operations/progress.py).
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Final

_FEWEST_FOR_A_LINE: Final = 4
"""With fewer videos than this, a stage's time is assumed to be proportional to the duration."""
_REST_OF_THE_OVERDUE: Final = 0.15
"""A video that takes longer than expected is assumed to need this additional fraction of the expected time."""
_LONGER_THAN_SEEN: Final = 1.3
"""An overdue video is expected to take, in total, this many times the time that it has taken so far."""
_BUSY: Final = (0.8, 0.95)
"""Above the first fraction of busy cores, stages begin to wait for the cores. Above the second, they mostly wait."""


@dataclass(frozen=True, slots=True)
class DoneVideo:
    """A video that a stage has finished, successfully or not."""

    duration_seconds: float
    wall_seconds: float
    cpu_seconds: float = 0.0
    group: str = ""
    """The site of the video. Videos from one site take similar times."""
    is_lost: bool = False
    """True if the video failed, in which case no later stage processes it."""


@dataclass(frozen=True, slots=True)
class OpenVideo:
    """A video that a stage still has to finish."""

    duration_seconds: float
    group: str = ""
    taken_seconds: float | None = None
    """The time for which the stage has been processing the video, or None if it has not started."""
    may_be_lost: bool = False
    """True if the video has not been downloaded yet and may still fail."""


@dataclass(frozen=True, slots=True)
class StageWork:
    """The work of one stage."""

    done: Sequence[DoneVideo]
    open: Sequence[OpenVideo]
    most_at_once: int
    """The number of videos that the stage is assumed to process in parallel until the actual number has been
    observed."""
    seen_seconds: float
    """The time since the stage started."""
    open_stands_for: float = 1.0
    """The number of videos that each item of `open` represents."""
    earlier: Sequence[DoneVideo] = ()
    """Videos from other runs. They are used until the stage has successfully finished a video in this run."""


def remaining_seconds(stages: Sequence[StageWork], *, elapsed_seconds: float, num_cores: int) -> float | None:
    """Return the remaining time of all stages in seconds, or None if there is no data to estimate it from.

    Args:
        stages: the stages in order. A video that is open at one stage is also open at later ones.
        elapsed_seconds: time since the first stage started. It must be above 0 if anything is finished or in progress.
        num_cores: number of cores on this machine.
    """
    outlooks = [_Outlook(stage, _share_lost(stages)) for stage in stages if stage.open]
    if not outlooks:
        return 0.0
    if not any(outlook.is_known for outlook in outlooks):
        return None
    passed = [_Outlook(stage, 0.0) for stage in stages if not stage.open]
    left_of_slowest = max(outlook.seconds_alone for outlook in outlooks)
    busy = sum(outlook.busy_seconds for outlook in chain(outlooks, passed))
    if not busy:
        return left_of_slowest
    cpu = sum(outlook.cpu_seconds for outlook in chain(outlooks, passed))
    left_at_same_pace = sum(outlook.left_seconds for outlook in outlooks) * elapsed_seconds / busy
    left_of_cpu = sum(outlook.left_cpu_seconds for outlook in outlooks) / num_cores
    least = min(left_at_same_pace, left_of_slowest)
    between = (left_at_same_pace + left_of_slowest) / 2
    low, high = _BUSY
    weight = min(1.0, max(0.0, (cpu / elapsed_seconds / num_cores - low) / (high - low)))
    return max(left_of_cpu, weight * between + (1 - weight) * least)


def share_done(stages: Sequence[StageWork]) -> float:
    """Return the finished fraction of all work, from 0 to 1, weighted by time.

    Without any times, it is 1 if no video is open, and 0 otherwise.
    """
    outlooks = [_Outlook(stage, _share_lost(stages)) for stage in stages]
    done = sum(outlook.busy_seconds for outlook in outlooks)
    left = sum(outlook.left_seconds for outlook in outlooks)
    return done / (done + left) if done + left else float(not any(stage.open for stage in stages))


def _share_lost(stages: Sequence[StageWork]) -> float:
    first = stages[0].done if stages else ()
    return sum(video.is_lost for video in first) / len(first) if first else 0.0


@dataclass(frozen=True, slots=True)
class _Line:
    """A time that is a linear function of the duration."""

    constant: float = 0.0
    slope: float = 0.0

    def at(self, duration_seconds: float) -> float:
        return self.constant + self.slope * duration_seconds


def _line_through(points: Collection[tuple[float, float]]) -> _Line:
    """Fit a line that neither falls nor goes below zero to (duration, time) points."""
    number = len(points)
    if not number:
        return _Line()
    mean_x = sum(x for x, _ in points) / number
    mean_y = sum(y for _, y in points) / number
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not mean_x:
        return _Line(mean_y)
    if number < _FEWEST_FOR_A_LINE or not spread:
        return _Line(0.0, mean_y / mean_x)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    slope = min(max(slope, 0.0), mean_y / mean_x)
    return _Line(mean_y - slope * mean_x, slope)


@dataclass(frozen=True, slots=True)
class _Times:
    """The time that a stage is expected to take for a video: linear in its duration, with a factor for its group."""

    line: _Line
    factors: Mapping[str, float]

    def of(self, duration_seconds: float, group: str) -> float:
        return self.line.at(duration_seconds) * self.factors.get(group, 1.0)


_Seen = tuple[float, str, float]
"""A video's duration in seconds, its group, and the time that it took in seconds."""


def _times_from(seen: Sequence[_Seen]) -> _Times:
    factors = dict.fromkeys((group for _, group, _ in seen), 1.0)
    line = _line_through([(duration, wall) for duration, _, wall in seen])
    for _ in range(3 if len(factors) > 1 else 0):
        for group in factors:
            of_group = [(duration, wall) for duration, name, wall in seen if name == group]
            expected = sum(line.at(duration) for duration, _ in of_group)
            factors[group] = sum(wall for _, wall in of_group) / expected if expected else 1.0
        line = _line_through([(duration, wall / (factors[group] or 1.0)) for duration, group, wall in seen])
    return _Times(line, factors)


class _Outlook:
    """The time that a stage has taken and will still take, in seconds."""

    def __init__(self, stage: StageWork, share_lost: float) -> None:
        self._stage = stage
        self._share_lost = share_lost
        self._at_work = [video for video in stage.open if video.taken_seconds is not None]
        seen = [video for video in stage.done if not video.is_lost]
        self._shown_by = seen or list(stage.earlier)

    @property
    def is_known(self) -> bool:
        """True if there is any data on the time that the stage takes."""
        return bool(self._shown_by or self._at_work)

    @cached_property
    def _times(self) -> _Times:
        seen = [(v.duration_seconds, v.group, v.wall_seconds) for v in self._shown_by]
        times = _times_from(seen)
        overdue = [
            (video.duration_seconds, video.group, _LONGER_THAN_SEEN * (video.taken_seconds or 0.0))
            for video in self._at_work
            if (video.taken_seconds or 0.0) > times.of(video.duration_seconds, video.group)
        ]
        return _times_from([*seen, *overdue]) if overdue else times

    @cached_property
    def _cpu_line(self) -> _Line:
        return _line_through([(v.duration_seconds, v.cpu_seconds) for v in self._shown_by])

    def _left_of(self, video: OpenVideo) -> float:
        expected = self._times.of(video.duration_seconds, video.group)
        if video.taken_seconds is not None:
            return max(expected - video.taken_seconds, _REST_OF_THE_OVERDUE * expected)
        return expected * (1 - self._share_lost if video.may_be_lost else 1.0)

    @cached_property
    def _left(self) -> list[float]:
        return [self._left_of(video) for video in self._stage.open]

    @property
    def left_seconds(self) -> float:
        """The remaining time of the stage's open videos if they were processed one after another."""
        return sum(self._left) * self._stage.open_stands_for

    @property
    def left_cpu_seconds(self) -> float:
        """The remaining CPU time of the stage's open videos."""
        total = 0.0
        for video, left in zip(self._stage.open, self._left, strict=True):
            expected = self._times.of(video.duration_seconds, video.group)
            total += self._cpu_line.at(video.duration_seconds) * (left / expected if expected else 1.0)
        return total * self._stage.open_stands_for

    @property
    def busy_seconds(self) -> float:
        """The sum of the times that the stage's videos have taken so far."""
        return sum(video.wall_seconds for video in self._stage.done) + sum(
            v.taken_seconds or 0.0 for v in self._at_work
        )

    @property
    def cpu_seconds(self) -> float:
        """The CPU time that the stage's videos have used so far, estimated for videos in progress."""
        total = sum(video.cpu_seconds for video in self._stage.done)
        for video in self._at_work:
            expected = self._times.of(video.duration_seconds, video.group)
            share = min(1.0, (video.taken_seconds or 0.0) / expected) if expected else 1.0
            total += share * self._cpu_line.at(video.duration_seconds)
        return total

    @property
    def seconds_alone(self) -> float:
        """The stage's remaining time if it waits for no other stage.

        The number of parallel videos is the observed one, or `most_at_once` if no video has taken any time yet.
        """
        if not self._stage.open:
            return 0.0
        at_once = self.busy_seconds / self._stage.seen_seconds if self._stage.seen_seconds > 0 else 0.0
        at_once = max(at_once, 0.2) if at_once else self._stage.most_at_once
        if self._stage.open_stands_for > 1:
            return self.left_seconds / at_once
        num_places = max(1, round(at_once + 0.49))
        pairs = list(zip(self._stage.open, self._left, strict=True))
        places = sorted((left for video, left in pairs if video.taken_seconds is not None), reverse=True)[:num_places]
        places += [0.0] * (num_places - len(places))
        heapq.heapify(places)
        for video, left in pairs:
            if video.taken_seconds is None:
                heapq.heappush(places, heapq.heappop(places) + left)
        last, total = max(places), sum(places)
        return total / at_once + last - total / num_places  # the rest of one long video cannot be divided
