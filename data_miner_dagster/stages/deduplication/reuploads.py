"""Find videos that are contained in other videos: the same pictures in the same order.

Deduplication has decided which frames show the same picture: those in the same duplicate group. A video's frames in
time order are then a sequence of groups. A video is a re-upload if enough of its sequence occurs, in order, within
another video's sequence. Cuts, other frame rates, added intros and slight speed changes do not prevent a match.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import Final

import numpy as np
import pyarrow as pa

_MAX_VIDEOS_PER_GROUP: Final = 50
"""A picture in more videos than this (such as a channel's intro or a black frame) does not suggest a re-upload."""


@dataclass(frozen=True, slots=True, order=True)
class Reupload:
    """A video with at least the required share of its frames in another video."""

    video_key: str
    original_video_key: str
    share: float  # fraction of the video's kept frames that occur in order in the original
    original_share: float  # fraction of the original's frames in the video, in order; less than 1 for an excerpt
    num_matched_frames: int
    num_frames: int  # kept by filtering


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive frames of one video that show the same picture."""

    group: str
    num_frames: int


def find_reuploads(decided: pa.Table, *, minimum_share: float, minimum_pictures: int) -> list[Reupload]:
    """Return the re-uploads, sorted by key: videos with at least `minimum_share` of their frames in another video.

    If two videos contain each other, the one with fewer representatives is the re-upload, or the one with the later key
    if they have equally many. Each re-upload names the original that contains most of it. If several originals contain
    equally much, it names the one with the most representatives.

    Args:
        decided: the table of deduplicated frames, with `frame_id`, `video_key`, `frame_index`,
            `representative_frame_id`, `is_representative`. The order of the rows does not matter.
        minimum_share: minimum fraction of a video's kept frames that occur, in order, in the other video.
        minimum_pictures: minimum number of pictures that the videos share, and that match in order.
    """
    decided = decided.sort_by([("video_key", "ascending"), ("frame_index", "ascending")])
    groups_by_video: dict[str, list[str]] = defaultdict(list)
    num_kept: Counter[str] = Counter()
    for video_key, group, is_kept in zip(
        decided["video_key"].to_pylist(),
        decided["representative_frame_id"].to_pylist(),
        decided["is_representative"].to_pylist(),
        strict=True,
    ):
        groups_by_video[video_key].append(group)
        num_kept[video_key] += is_kept
    runs_by_video = {key: _runs(groups) for key, groups in groups_by_video.items()}

    candidates: dict[str, list[Reupload]] = defaultdict(list)
    for one, other in _likely_pairs(groups_by_video, minimum_pictures):
        # If each video contains the other, the first in this order is the original.
        original, copy = sorted((one, other), key=lambda key: (-num_kept[key], key))
        reupload = _compare(copy, original, runs_by_video, minimum_share, minimum_pictures)
        if reupload is None:
            reupload = _compare(original, copy, runs_by_video, minimum_share, minimum_pictures)
        if reupload is not None:
            candidates[reupload.video_key].append(reupload)
    return [
        min(candidates[key], key=lambda found: (-found.share, -num_kept[found.original_video_key], found))
        for key in sorted(candidates)
    ]


def _runs(groups: Sequence[str]) -> list[_Run]:
    return [_Run(group, len(list(frames))) for group, frames in groupby(groups)]


def _likely_pairs(groups_by_video: Mapping[str, Iterable[str]], minimum_pictures: int) -> list[tuple[str, str]]:
    """Return the pairs of videos that share enough groups, sorted by key."""
    videos_by_group: dict[str, list[str]] = defaultdict(list)
    for video_key in sorted(groups_by_video):
        for group in set(groups_by_video[video_key]):
            videos_by_group[group].append(video_key)
    num_shared: Counter[tuple[str, str]] = Counter()
    for videos in videos_by_group.values():
        if len(videos) <= _MAX_VIDEOS_PER_GROUP:
            num_shared.update(combinations(videos, 2))
    return sorted(pair for pair, num in num_shared.items() if num >= minimum_pictures)


def _compare(
    copy: str,
    original: str,
    runs_by_video: Mapping[str, Sequence[_Run]],
    minimum_share: float,
    minimum_pictures: int,
) -> Reupload | None:
    runs, original_runs = runs_by_video[copy], runs_by_video[original]
    num_frames = sum(run.num_frames for run in runs)
    num_matched, num_pictures = _longest_match(runs, original_runs)
    if num_matched < minimum_share * num_frames or num_pictures < minimum_pictures:
        return None
    num_original_matched, _ = _longest_match(original_runs, runs)
    return Reupload(
        video_key=copy,
        original_video_key=original,
        share=num_matched / num_frames,
        original_share=num_original_matched / sum(run.num_frames for run in original_runs),
        num_matched_frames=num_matched,
        num_frames=num_frames,
    )


def _longest_match(runs: Sequence[_Run], others: Sequence[_Run]) -> tuple[int, int]:
    """Return the numbers of frames and of runs in the common subsequence that covers the most frames of `runs`.

    The longest common subsequence, weighted by frames, is computed row by row in O(len(runs)) vector operations.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, run in enumerate(others):
        positions[run.group].append(position)
    # Combine frames and runs in one number: frames decide, runs break ties.
    scale = len(runs) + 1
    best = np.zeros(len(others) + 1, np.int64)  # best[j + 1]: the best match that ends at others[j]
    for run in runs:
        here = positions.get(run.group)
        if here is None:
            continue
        before = np.maximum.accumulate(best)[here]
        at = np.asarray(here) + 1
        best[at] = np.maximum(best[at], before + run.num_frames * scale + 1)
    total = int(best.max())
    return total // scale, total % scale
