"""Find images of different splits that look alike, by comparing all pairs.

Videos are grouped by near-duplicates that were found by one encoder's vectors, through an index, and by hashes. Here
every pair is compared, by perceptual hashes and by the vectors of another encoder, if there are any. Does not belong
here: reading these hashes and vectors.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BLOCK: Final = 2_048
"""The number of rows to compare in one step. The products of two blocks use 17 MB, and the 768 values of each row in
one block use 6 MB."""
MAX_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class LeakLimits:
    """The inclusive limits within which two images count as the same.

    Both limits must hold. Without vectors, only `hash_distance` applies.

    One limit alone is not proof: the vectors of two plain pictures are similar, and so are the hashes of two pictures
    with the same layout.
    """

    hash_distance: int  # differing bits, out of 64; both hashes must be meaningful
    cosine: float


@dataclass(frozen=True, slots=True, eq=False)
class ComparedImages:
    """N images, grouped by split."""

    split_codes: IntArray  # (N,) ascending
    video_codes: IntArray  # (N,)
    hashes: npt.NDArray[np.uint64]  # (N,) 64-bit perceptual hashes
    is_telling: npt.NDArray[np.bool_]  # (N,) whether the hash is meaningful for the picture
    vectors: npt.NDArray[np.float16] | None  # (N, D) unit vectors, possibly on disk, or None without another encoder


@dataclass(frozen=True, slots=True)
class Leak:
    """Two images of different splits that look alike, each identified by its row."""

    one: int
    other: int
    hash_distance: int
    cosine: float | None  # None if the images have no vectors


@dataclass(slots=True)
class LeakTally:
    """The result of comparing all images of different splits."""

    num_pairs: int = 0  # number of compared pairs
    num_leaks: int = 0  # pairs that look alike and come from two videos
    num_within_videos: int = 0  # pairs that look alike within one video that is cut in time: unavoidable
    closest: Sequence[Leak] = ()  # at most MAX_NAMED of the leaks, the closest first


def find_leaks(
    images: ComparedImages, limits: LeakLimits, said_different: frozenset[tuple[int, int]] = frozenset()
) -> LeakTally:
    """Return the number of pairs of images from different splits that look alike, and the closest of them.

    Time grows with the number of pairs, but memory does not.

    Args:
        images: the images to compare.
        limits: the limits within which images look alike.
        said_different: pairs of rows, the lower row first, that a person marked as not duplicates.
    """
    tally, closest = LeakTally(), []
    for one, other in _block_pairs(images.split_codes):
        is_across = images.split_codes[one][:, None] < images.split_codes[other][None, :]  # ascending: each pair once
        distances = np.bitwise_count(images.hashes[one][:, None] ^ images.hashes[other][None, :])  # 0..64
        distances[~(images.is_telling[one][:, None] & images.is_telling[other][None, :])] = 65
        cosines = _cosines(images, one, other)
        is_alike = is_across & (distances <= limits.hash_distance)
        if images.vectors is not None:
            is_alike &= cosines >= np.float32(limits.cosine)
        tally.num_pairs += int(np.count_nonzero(is_across))
        for row, column in np.argwhere(is_alike).tolist():
            pair = (one.start + row, other.start + column)
            if pair in said_different:
                continue
            if images.video_codes[pair[0]] == images.video_codes[pair[1]]:
                tally.num_within_videos += 1
                continue
            tally.num_leaks += 1
            distance, cosine = int(distances[row, column]), float(cosines[row, column])
            leak = Leak(*pair, distance, None if images.vectors is None else cosine)
            closest.append((-cosine, distance, *pair, leak))
        closest = heapq.nsmallest(MAX_NAMED, closest, key=lambda entry: entry[:4])
    tally.closest = [entry[-1] for entry in closest]
    return tally


def _block_pairs(split_codes: IntArray) -> Iterator[tuple[slice, slice]]:
    """Yield all pairs of blocks that contain rows of different splits, the earlier block first."""
    blocks = [slice(start, min(start + BLOCK, len(split_codes))) for start in range(0, len(split_codes), BLOCK)]
    for position, one in enumerate(blocks):
        for other in blocks[position:]:
            if split_codes[one.start] != split_codes[other.stop - 1]:
                yield one, other


def _cosines(images: ComparedImages, one: slice, other: slice) -> npt.NDArray[np.float32]:
    if images.vectors is None:
        return np.full((one.stop - one.start, other.stop - other.start), -2, np.float32)
    left, right = (np.asarray(images.vectors[rows], np.float32) for rows in (one, other))
    cosines: npt.NDArray[np.float32] = left @ right.T
    return cosines
