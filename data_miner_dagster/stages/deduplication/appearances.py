"""Frames told alike without a model: by their files, and by their perceptual hashes.

Belongs here: when two frames look alike, and finding those among the representatives that do. Does not belong here:
how a hash is made (`media/quality.py`), or what similarity of embeddings means (`cosines.py`).
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.protocols.indexes import HashIndex
from data_miner_dagster.stages.deduplication.cosines import BoolArray, IntArray

HashArray = npt.NDArray[np.uint64]

_LEAST_SET_BITS: Final = 16
"""A hash says which coefficients lie above their median: 32 of 64 in any photograph. Fewer set bits mean that most are
equal, as in plain colours and test patterns, and such hashes are near each other whatever they show."""


def telling_hashes(hashes: HashArray, contrast: npt.NDArray[np.floating], minimum_contrast: float) -> BoolArray:
    """Return (N,): the frames whose hash says something about what they show.

    The hash of a frame with little contrast is made of noise and of its few words' layout: title cards that say
    different things share one.

    Args:
        hashes: (N,) 64-bit perceptual hashes.
        contrast: (N,) standard deviations of luma, 0..255.
        minimum_contrast: below it a hash tells nothing.
    """
    return np.asarray((contrast >= minimum_contrast) & (np.bitwise_count(hashes) >= _LEAST_SET_BITS))


@dataclass(frozen=True, slots=True, eq=False)
class Appearances:
    """What frames look like, by id as in `Assignment`: those known before, then the newcomers in order.

    `file_codes` (N,) are equal where the image files are equal byte for byte; `hashes` (N,) count where `is_telling`.
    """

    file_codes: IntArray
    hashes: HashArray
    is_telling: BoolArray
    max_hash_distance: int  # of 64 bits, inclusive

    def have_equal_files(self, ids: IntArray, others: IntArray) -> BoolArray:
        """Return where the files are equal; ids may be of any shapes that broadcast."""
        return np.asarray(self.file_codes[ids] == self.file_codes[others])

    def have_near_hashes(self, ids: IntArray, others: IntArray) -> BoolArray:
        """Return where both hashes tell something and differ in few enough bits; shapes broadcast."""
        is_near = np.bitwise_count(self.hashes[ids] ^ self.hashes[others]) <= self.max_hash_distance
        is_near &= self.is_telling[ids]
        is_near &= self.is_telling[others]
        return np.asarray(is_near)

    def are_alike(self, ids: IntArray, others: IntArray) -> BoolArray:
        """Return where files are equal or hashes near; shapes broadcast."""
        return self.have_near_hashes(ids, others) | self.have_equal_files(ids, others)


class AlikeRepresentatives:
    """The representatives so far, found by what they look like. Every pair is found."""

    def __init__(self, appearances: Appearances, hash_index: HashIndex) -> None:
        """`hash_index` is empty and made for the same distance."""
        self.appearances = appearances
        self._hash_index = hash_index
        self._ids_by_position: list[int] = []
        self._ids_by_file: defaultdict[int, list[int]] = defaultdict(list)

    def add(self, ids: IntArray) -> None:
        """Add representatives; ids ascend from call to call."""
        for file_code, representative in zip(self.appearances.file_codes[ids].tolist(), ids.tolist(), strict=True):
            self._ids_by_file[file_code].append(representative)
        telling = ids[self.appearances.is_telling[ids]]
        self._hash_index.add(self.appearances.hashes[telling])
        self._ids_by_position += telling.tolist()

    def pairs_of(self, ids: IntArray) -> tuple[IntArray, IntArray]:
        """Return (positions within `ids`, representatives) of every pair that looks alike; a pair may come twice."""
        telling_rows = np.flatnonzero(self.appearances.is_telling[ids])
        offsets, positions = self._hash_index.within(self.appearances.hashes[ids[telling_rows]])
        by_hash = np.asarray(self._ids_by_position, np.int64)[positions]
        files = self.appearances.file_codes[ids].tolist()
        by_file = [(row, known) for row, file in enumerate(files) for known in self._ids_by_file.get(file, ())]
        equal_files = np.asarray(by_file, np.int64).reshape(-1, 2)
        return (
            np.concatenate([np.repeat(telling_rows, np.diff(offsets)), equal_files[:, 0]]),
            np.concatenate([by_hash, equal_files[:, 1]]),
        )
