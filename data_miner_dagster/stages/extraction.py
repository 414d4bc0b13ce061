"""Choose which frames of a video to take, and which packets to decode for them.

Belongs here: targets and plans, as functions of a video's index. Does not belong here: opening or decoding anything.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from typing import Final

import numpy as np

from data_miner_dagster.config.extraction import ExtractionConfig, FrameQualityConfig
from data_miner_dagster.domain.decoding import BoolArray, DecodePlan, GroupIndex, Int64Array, VideoIndex
from data_miner_dagster.domain.reasons import QualityFlag

_LEAST_PROMINENCE: Final = 2.5
_LEAST_SEEK_PACKETS: Final = 12
_LEAST_SEEK_BYTES: Final = 1 << 19
"""A seek is cheaper than reading on if at least this many packets or bytes are skipped. Measured on 720p and 1080p mp4
files in the page cache: reading a packet takes 5 to 14 microseconds plus 0.2 per kilobyte. A seek including its
keyframe takes 36 to 103 microseconds, as long as reading 6 to 10 packets of the same file."""

_LAST_TICK: Final = int(np.iinfo(np.int64).max)
_LEAST_TEXT_OF_SLIDE: Final = 0.02
"""The minimum share of text in a slide. Plainness alone is not enough, because a clear sky is plain, too. Among 40
photographs and frames without text, no text is detected in those that are as plain as slides."""


def exact_seconds(seconds: float) -> Fraction:
    """Return a number of seconds as the exact decimal that the user wrote, so that 0.1 becomes one tenth."""
    return Fraction(str(seconds))


def frames_on_screen(index: VideoIndex, times: Sequence[Fraction]) -> Int64Array:
    """Return the distinct pts of the frames on screen at `times`, ascending.

    The frame on screen at t is the last one with pts_seconds <= t. Before the first frame, it is the first frame.
    """
    positions = np.maximum(np.searchsorted(index.frame_pts, _ticks(index, times), side="right") - 1, 0)
    return np.unique(index.frame_pts[positions])


def _ticks(index: VideoIndex, times: Sequence[Fraction]) -> Int64Array:
    """Return the times in ticks, rounded down."""
    return np.array([min(time / index.time_base // 1, _LAST_TICK) for time in times], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class RegularTimes:
    """`count` evenly spaced times in seconds.

    They are stored as three numbers because a file can claim to last for centuries.
    """

    start: Fraction
    step: Fraction
    count: int

    def __iter__(self) -> Iterator[Fraction]:
        return (self.start + self.step * k for k in range(self.count))

    def frames_on_screen(self, index: VideoIndex) -> Int64Array:
        """Return the distinct pts of the frames on screen at these times, ascending.

        The times or the frames are iterated over, whichever are fewer.
        """
        ends = _ticks(index, [self.start, self.start + self.step * (self.count - 1)])
        first, last = np.maximum(np.searchsorted(index.frame_pts, ends, side="right") - 1, 0).tolist()
        between = index.frame_pts[first : last + 1]
        if self.count <= len(between):
            return frames_on_screen(index, list(self))
        unit = math.lcm(self.start.denominator, self.step.denominator, index.time_base.denominator)
        start, step, tick = (int(value * unit) for value in (self.start, self.step, index.time_base))
        bounds = [start, *(pts * tick for pts in between.tolist()[1:]), start + step * self.count]
        is_met = [
            max(0, -((start - shown) // step)) < min(self.count, -((start - gone) // step))
            for shown, gone in pairwise(bounds)
        ]
        return between[np.array(is_met, np.bool_)]


def spread(values: Int64Array, count: int | None) -> Int64Array:
    """Return `count` evenly spread `values`, the middle of each equal share, or all if there are no more than `count`.

    If `count` is None, all values are returned.
    """
    if count is None or len(values) <= count:
        return values
    return values[(2 * np.arange(count) + 1) * len(values) // (2 * count)]


def select_targets(index: VideoIndex, config: ExtractionConfig, cut_pts: Int64Array | None = None) -> Int64Array:
    """Return the distinct pts of the frames to take, ascending. There are at most `config.max_frames_per_video`.

    Args:
        index: the index of the video. Times count from its first frame.
        config: the strategy and its settings.
        cut_pts: the pts of the first frame of every shot except the first. Only the strategy `scene` uses it.
            If None, the video counts as one shot.
    """
    if index.num_frames == 0:
        return np.zeros(0, np.int64)
    match config.strategy:
        case "time":
            times = _regular_times(index, exact_seconds(config.every_seconds))
            targets = _snapped(index, times.frames_on_screen(index), config)
        case "interval":
            targets = index.frame_pts[index.frame_numbers % config.every_frames == 0]
        case "uniform":
            targets = _snapped(index, frames_on_screen(index, _middles_of_shares(index, config.num_frames)), config)
        case "keyframe":
            # The keyframe may precede the part of the file that is shown: then the first frame represents the video.
            keyframes = index.keyframe_pts if len(index.keyframe_pts) else index.frame_pts[:1]
            targets = _without_gaps(index, keyframes, config.max_gap_seconds)
        case "scene":
            targets = _without_gaps(
                index,
                _middles_of_shots(index, np.zeros(0, np.int64) if cut_pts is None else cut_pts),
                config.max_gap_seconds,
            )
    return spread(targets, config.max_frames_per_video)


def _first_time(index: VideoIndex) -> Fraction:
    return int(index.frame_pts[0]) * index.time_base


def _middles_of_shares(index: VideoIndex, num_shares: int) -> list[Fraction]:
    """Return the middles of equal shares of the video, in seconds.

    The last frame is assumed to last as long as the average.
    """
    num_frames = index.num_frames
    duration = (index.last_pts * index.time_base - _first_time(index)) * num_frames / max(1, num_frames - 1)
    return [_first_time(index) + duration * (2 * k + 1) / (2 * num_shares) for k in range(num_shares)]


def _regular_times(index: VideoIndex, step: Fraction) -> RegularTimes:
    first = _first_time(index)
    last = index.last_pts * index.time_base
    return RegularTimes(first, step, int((last - first) / step) + 1)


def _snapped(index: VideoIndex, exact: Int64Array, config: ExtractionConfig) -> Int64Array:
    """Replace exact frames with cheaper ones within the tolerance, and return all frames to take.

    The nearest keyframe within the tolerance takes precedence, then the nearest frame that other frames reference.
    """
    tolerance = _tolerance(index, config)
    if tolerance == 0 or index.is_from_content:
        return exact
    references = np.unique(index.pts[index.is_shown & ~index.is_droppable])
    chosen = exact.copy()
    for candidates in (references, index.keyframe_pts):
        if len(candidates):
            nearest = _nearest(candidates, exact)
            is_near = np.abs(nearest - exact) <= tolerance
            chosen[is_near] = nearest[is_near]
    return np.unique(chosen)


def _tolerance(index: VideoIndex, config: ExtractionConfig) -> int:
    return int(exact_seconds(config.snap_tolerance_seconds) / index.time_base)


def _nearest(candidates: Int64Array, wanted: Int64Array) -> Int64Array:
    """Return the nearest of the ascending candidates for each wanted value. The lower one wins a tie."""
    after = np.clip(np.searchsorted(candidates, wanted), 0, len(candidates) - 1)
    before = np.maximum(after - 1, 0)
    is_lower = wanted - candidates[before] <= np.abs(candidates[after] - wanted)
    nearest: Int64Array = np.where(is_lower, candidates[before], candidates[after])
    return nearest


def groups_to_read(index: GroupIndex, config: ExtractionConfig) -> Int64Array | None:
    """Return the groups to index completely so that `select_targets` chooses as it would from a complete index.

    The result contains ascending group ordinals, or is None if the groups are, or may be, most of the file.
    """
    starts = index.keyframe_pts
    match config.strategy:
        case "interval":
            wanted = np.arange(0, index.num_packets, config.every_frames)
            groups = np.searchsorted(index.group_starts, wanted, side="right") - 1
            is_sure = wanted == index.group_starts[groups]
        case "keyframe":
            gaps = _times_in_gaps(index, starts, config.max_gap_seconds)
            if sum(times.count for times in gaps) > index.num_packets:
                return None
            wanted, groups = _groups_on_screen(index, list(chain.from_iterable(gaps)))
            is_sure = wanted == starts[groups]
        case "time" | "uniform":
            if config.strategy == "time":
                times = _regular_times(index, exact_seconds(config.every_seconds))
                if times.count > index.num_packets:
                    return None
                wanted, groups = _groups_on_screen(index, list(times))
            else:
                wanted, groups = _groups_on_screen(index, _middles_of_shares(index, config.num_frames))
            # The frame on screen lies between its group's keyframe and the wanted time, so it is even nearer than the
            # keyframe.
            since_start = wanted - starts[groups]
            to_next = np.append(starts[1:], np.iinfo(np.int64).max)[groups] - wanted
            is_sure = (since_start <= _tolerance(index, config)) & (since_start <= to_next)
        case "scene":
            return None
    return _unknown_groups(index, groups[~is_sure])


def groups_at(index: GroupIndex, times: Sequence[Fraction]) -> Int64Array | None:
    """Return the groups to index completely so that `frames_on_screen` finds the frames at `times`.

    The result contains ascending group ordinals, or is None if the groups are most of the file.
    """
    return _unknown_groups(index, np.maximum(_groups_on_screen(index, times)[1], 0))


def _unknown_groups(index: GroupIndex, wanted: Int64Array) -> Int64Array | None:
    """Return the wanted groups that are not indexed completely, or None if they are most of the file."""
    known = np.flatnonzero(np.bincount(index.groups) == index.group_sizes)
    unknown = np.setdiff1d(wanted, known)
    return unknown if 2 * int(index.group_sizes[unknown].sum()) <= index.num_packets else None


def _groups_on_screen(index: GroupIndex, times: Sequence[Fraction]) -> tuple[Int64Array, Int64Array]:
    """Return the times in ticks, and the group that each time falls into."""
    ticks = _ticks(index, times)
    return ticks, np.searchsorted(index.keyframe_pts, ticks, side="right") - 1


def _without_gaps(index: VideoIndex, chosen: Int64Array, max_gap_seconds: float | None) -> Int64Array:
    """Return the chosen frames, and frames at regular times in every gap longer than the limit.

    The times before the first chosen frame and after the last one count as gaps too.
    """
    added = [times.frames_on_screen(index) for times in _times_in_gaps(index, chosen, max_gap_seconds)]
    return np.union1d(chosen, np.concatenate(added)) if added else chosen


def _times_in_gaps(index: VideoIndex, chosen: Int64Array, max_gap_seconds: float | None) -> list[RegularTimes]:
    if max_gap_seconds is None:
        return []
    limit = exact_seconds(max_gap_seconds)
    anchors = [int(pts) * index.time_base for pts in chosen]
    bounds = [_first_time(index), *anchors, index.last_pts * index.time_base]
    times = []
    for start, end in pairwise(bounds):
        num_parts = int(-((start - end) / limit // 1))  # ceiling
        if num_parts > 1:
            step = (end - start) / num_parts
            times.append(RegularTimes(start + step, step, num_parts - 1))
    return times


def _middles_of_shots(index: VideoIndex, cut_pts: Int64Array) -> Int64Array:
    pts = index.frame_pts
    starts = np.unique(np.concatenate([[0], np.searchsorted(pts, cut_pts)]))
    ends = np.append(starts[1:], len(pts))
    middles: Int64Array = pts[(starts + ends) // 2]
    return middles


def find_cuts(
    pts: Int64Array, changes: np.ndarray, time_base: Fraction, *, threshold: float, min_scene_seconds: float
) -> Int64Array:
    """Return the pts of the first frame of every shot except the first.

    A cut is a change that reaches the threshold and is at least 2.5 times the mean of up to two changes on either side.
    The second condition excludes motion, flicker and fades, which change many neighbouring frames equally.

    Args:
        pts: (N,) pts of the frames, ascending.
        changes: (N,) mean absolute difference of each frame from the previous one, 0..255. The first is 0.
        time_base: seconds per pts tick.
        threshold: smallest change that counts as a cut.
        min_scene_seconds: cuts closer than this to the previous cut or to the start are ignored.

    Source: PySceneDetect's adaptive detector, which compares a frame's change with the mean change of its neighbours.
    """
    cuts: list[int] = []
    least = exact_seconds(min_scene_seconds) / time_base
    last = int(pts[0]) if len(pts) else 0
    for i in np.flatnonzero(changes >= threshold):
        around = np.concatenate([changes[max(i - 2, 1) : i], changes[i + 1 : i + 3]])
        if len(around) and changes[i] < _LEAST_PROMINENCE * float(np.mean(around)):
            continue
        if int(pts[i]) - last >= least:
            cuts.append(int(pts[i]))
            last = int(pts[i])
    return np.array(cuts, dtype=np.int64)


def plan_through(target_pts: Int64Array) -> DecodePlan:
    """Return the plan that decodes every packet. It is correct for any file, but never cheap."""
    return DecodePlan(target_pts)


def plan_decoding(index: VideoIndex, target_pts: Int64Array) -> DecodePlan:
    """Return the plan that decodes no unnecessary packets, or all packets if the index says nothing about packets.

    A target needs the packets from its governing keyframe up to itself in decode order, except unreferenced ones.
    Its governing keyframe is the last preceding one in decode order that is not shown after the target. Frames that
    follow a keyframe in the file but precede it on screen may reference frames before that keyframe.
    """
    if index.is_from_content or len(index) == 0:
        return plan_through(target_pts)
    is_target = np.isin(index.pts, target_pts) & index.is_shown
    keyframes = np.flatnonzero(index.is_keyframe)
    is_needed = np.zeros(len(index), np.bool_)
    ends: dict[int, int] = {}
    for ordinal in np.flatnonzero(is_target):
        start = _governing_keyframe(index, keyframes, int(ordinal))
        ends[start] = max(ends.get(start, 0), int(ordinal) + 1)
    for start, end in ends.items():
        is_needed[start:end] = True
    is_sent = is_needed & (is_target | ~index.is_droppable)
    is_next = np.diff(index.ordinals, prepend=-1) == 1
    is_gap_before = is_needed & ~(is_next & np.concatenate([[True], is_needed[:-1]]))
    restarts = np.flatnonzero(is_gap_before)
    return DecodePlan(target_pts, is_sent, frozenset(restarts.tolist()), _worthwhile_seeks(index, is_needed, restarts))


def _worthwhile_seeks(index: VideoIndex, is_needed: BoolArray, restarts: Int64Array) -> frozenset[int]:
    """Return the first needed packet, and the restarts where seeking is cheaper than reading through the gap.

    The result is empty if the file is not seekable.
    """
    if not index.is_seekable:
        return frozenset()
    needed = np.flatnonzero(is_needed)
    if len(needed) == 0:
        return frozenset()
    bytes_before = np.concatenate([[0], np.cumsum(index.size_bytes)])
    seeks = [int(needed[0])]  # the stream may be at any position, such as where reading the index left it
    for restart in restarts.tolist():
        position = int(np.searchsorted(needed, restart))
        gap_start = int(needed[position - 1]) + 1 if position > 0 else 0
        read_up_to = int(index.ordinals[gap_start - 1]) if gap_start else -1
        num_packets = int(index.ordinals[restart]) - read_up_to - 1
        num_bytes = int(bytes_before[restart] - bytes_before[gap_start])
        if num_packets >= _LEAST_SEEK_PACKETS or num_bytes >= _LEAST_SEEK_BYTES:
            seeks.append(restart)
    return frozenset(seeks)


def _governing_keyframe(index: VideoIndex, keyframes: Int64Array, ordinal: int) -> int:
    position = int(np.searchsorted(keyframes, ordinal, side="right")) - 1
    while position >= 0 and index.pts[keyframes[position]] > index.pts[ordinal]:
        position -= 1
    return int(keyframes[position]) if position >= 0 else 0


def quality_flag(
    *,
    sharpness: float,
    brightness: float,
    contrast: float,
    text_share: float | None = None,
    plain_share: float | None = None,
    config: FrameQualityConfig,
) -> QualityFlag | None:
    """Return the first flag that applies to a frame, in the order of `QualityFlag`, or None if no flag applies.

    `text_share` and `plain_share` are None if lines of text were not measured.
    """
    if brightness < config.black_brightness and contrast <= config.black_contrast:
        return QualityFlag.BLACK
    if contrast < config.flat_contrast:
        return QualityFlag.FLAT
    if sharpness < config.blurred_sharpness:
        return QualityFlag.BLURRED
    if text_share is not None and plain_share is not None:
        is_plain = config.slide_plain_share is not None and plain_share > config.slide_plain_share
        if is_plain and text_share >= _LEAST_TEXT_OF_SLIDE:
            return QualityFlag.SLIDE
        if config.text_share is not None and text_share > config.text_share:
            return QualityFlag.TEXT
    return None
