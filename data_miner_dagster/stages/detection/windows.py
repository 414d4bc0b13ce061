"""The times in a video at which pictures are examined to follow objects, in whole microseconds."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor
from typing import Final

from data_miner_dagster.config.tracking import TrackingConfig

_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class WantedTimes:
    """A set of times in a video: single times, and all multiples of the steps."""

    times_us: frozenset[int] = frozenset()
    steps_us: frozenset[int] = frozenset()

    def covers(self, other: "WantedTimes") -> bool:
        """Return whether this set has all steps of `other` and contains all single times of `other`."""
        return self.steps_us >= other.steps_us and all(self.holds(time) for time in other.times_us)

    def holds(self, time_us: int) -> bool:
        """Return whether the set contains a time."""
        return time_us in self.times_us or any(time_us % step == 0 for step in self.steps_us)

    def __or__(self, other: "WantedTimes") -> "WantedTimes":
        """Return the union of both sets."""
        return WantedTimes(self.times_us | other.times_us, self.steps_us | other.steps_us)


def wanted_times(pts_seconds: Iterable[float], config: TrackingConfig) -> WantedTimes:
    """Return the times at which to examine a video, given the times of its frames.

    The times are multiples of the step, counted from the start of the video's clock rather than from a frame. With
    equal steps, the windows of neighbouring frames, of other projects and of whole clips therefore share pictures.
    """
    step = step_us(config)
    if config.whole_clip:
        return WantedTimes(steps_us=frozenset([step]))
    window, times = round(config.window_seconds * _MICROSECONDS), set[int]()
    for seconds in pts_seconds:
        middle = seconds * _MICROSECONDS
        numbers = range(ceil((middle - window) / step), floor((middle + window) / step) + 1)
        times.update(number * step for number in numbers)
    return WantedTimes(frozenset(times))


def step_us(config: TrackingConfig) -> int:
    """Return the time between two pictures in microseconds."""
    return round(config.every_seconds * _MICROSECONDS)


def num_looks(pts_seconds: Iterable[float], duration_seconds: float | None, config: TrackingConfig) -> int:
    """Return the maximum number of pictures to examine to follow objects, or 0 if it depends on an unknown duration."""
    if config.whole_clip:
        return floor((duration_seconds or 0) / config.every_seconds) + 1 if duration_seconds else 0
    return len(wanted_times(pts_seconds, config).times_us)


def expected_looks(num_frames: int, video_seconds: float, config: TrackingConfig) -> int:
    """Return the expected number of pictures to examine in videos of this total length with `num_frames` frames."""
    of_all = video_seconds / config.every_seconds
    around = num_frames * 2 * config.window_seconds / config.every_seconds
    return round(of_all if config.whole_clip else min(of_all, around))
