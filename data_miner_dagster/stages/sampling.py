"""Order frames in a fixed pseudo-random order, so that a sample only grows, and choose the frames of a sample.

Pure functions. Does not belong here: the order of questions (stages/reviewing_queues.py).
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, Verdict, VerdictWord

UInt64Array = npt.NDArray[np.uint64]
_MICROSECONDS: Final = 1e6


def mixed_numbers(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return a pseudo-random number for each number. Different numbers give different results.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64).
    """
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def sampling_numbers(
    video_keys: Sequence[str], videos: npt.NDArray[np.int64], pts_seconds: npt.NDArray[np.float64]
) -> UInt64Array:
    """Return a fixed pseudo-random number for each frame. Frames with the lowest numbers are asked about first.

    A number depends only on the video and the time. It therefore stays the same if the frames are extracted again or
    other videos are added.

    Args:
        video_keys: all videos.
        videos: (N,) the position of each frame's video in `video_keys`.
        pts_seconds: (N,) the times of the frames.
    """
    seeds = np.array([zlib.crc32(key.encode()) for key in video_keys], np.uint64)
    micros = np.round(pts_seconds * _MICROSECONDS).astype(np.int64).astype(np.uint64)
    return mixed_numbers(micros + (seeds[videos] << np.uint64(32)))


def sampled_places(verdicts: Iterable[Verdict]) -> frozenset[FramePlace]:
    """Return the frames of the random sample that were marked as complete, in any queue.

    If a person reviews the unsure frames first, only the other frames remain in the queue `random`, and these alone
    would look better than average. The sample therefore consists of all complete frames whose sampling numbers do not
    exceed the highest number of a frame completed in the queue `random`.
    """
    complete = [verdict for verdict in verdicts if verdict.word is VerdictWord.COMPLETE]
    places = sorted({verdict.place for verdict in complete})
    videos = {key: position for position, key in enumerate(sorted({place.video_key for place in places}))}
    of_places = np.array([videos[place.video_key] for place in places], np.int64)
    numbers = sampling_numbers(list(videos), of_places, np.array([place.pts_seconds for place in places]))
    asked = {verdict.place for verdict in complete if verdict.queue is ReviewQueue.RANDOM}
    last = max((number for place, number in zip(places, numbers.tolist(), strict=True) if place in asked), default=-1)
    return frozenset(place for place, number in zip(places, numbers.tolist(), strict=True) if number <= last)
