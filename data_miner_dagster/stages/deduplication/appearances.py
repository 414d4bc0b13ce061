"""Find frames that look alike by their files and perceptual hashes, without a model.

Belongs here: deciding whether two frames look alike, and finding representatives that look like a frame. Does not
belong here: computing a hash (`media/quality.py`), or the similarity of embeddings (`cosines.py`).
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.protocols.indexes import HashIndex
from data_miner_dagster.stages.deduplication.cosines import BoolArray, IntArray
from data_miner_dagster.stages.deduplication.distinctions import NOTHING_APART, Distinctions

HashArray = npt.NDArray[np.uint64]

_LEAST_SET_BITS: Final = 16
"""The minimum number of set bits of an informative hash. A hash marks the coefficients above their median: 32 of 64 in
any photograph. Fewer set bits mean that most coefficients are equal, as in plain colours and test patterns. Such hashes
are close to each other whatever the frames show."""


def telling_hashes(hashes: HashArray, contrast: npt.NDArray[np.floating], minimum_contrast: float) -> BoolArray:
    """Return an (N,) mask of the frames whose hash is informative about their content.

    The hash of a low-contrast frame reflects noise and text layout, so title cards with different text share a hash.

    Args:
        hashes: (N,) 64-bit perceptual hashes.
        contrast: (N,) standard deviations of luma, 0..255.
        minimum_contrast: below this, a hash is uninformative.
    """
    return np.asarray((contrast >= minimum_contrast) & (np.bitwise_count(hashes) >= _LEAST_SET_BITS))


@dataclass(frozen=True, slots=True, eq=False)
class Appearances:
    """The appearance of N frames, by id as in `Assignment`: the known leaders, then the newcomers in order.

    Equal `file_codes` (N,) mean byte-identical image files. `hashes` (N,) are used only where `is_telling` is true.
    """

    file_codes: IntArray
    hashes: HashArray
    is_telling: BoolArray
    max_hash_distance: int  # differing bits, out of 64, inclusive
    distinctions: Distinctions = NOTHING_APART  # pairs that are never within reach of each other

    def have_equal_files(self, ids: IntArray, others: IntArray) -> BoolArray:
        """Return a mask of the pairs with equal files. The ids may have any shapes that broadcast."""
        return np.asarray(self.file_codes[ids] == self.file_codes[others])

    def have_near_hashes(self, ids: IntArray, others: IntArray) -> BoolArray:
        """Return a mask of the pairs whose hashes are both informative and at most `max_hash_distance` bits apart.

        The ids may have any shapes that broadcast.
        """
        is_near = np.bitwise_count(self.hashes[ids] ^ self.hashes[others]) <= self.max_hash_distance
        is_near &= self.is_telling[ids]
        is_near &= self.is_telling[others]
        return np.asarray(is_near)

    def are_alike(self, ids: IntArray, others: IntArray) -> BoolArray:
        """Return a mask of the pairs with equal files or near hashes. The ids may have any shapes that broadcast."""
        return self.have_near_hashes(ids, others) | self.have_equal_files(ids, others)


class AlikeRepresentatives:
    """An exact index of the representatives found so far, by appearance."""

    def __init__(self, appearances: Appearances, hash_index: HashIndex) -> None:
        """Create an empty index. `hash_index` must be empty and built for `appearances.max_hash_distance`."""
        self.appearances = appearances
        self._hash_index = hash_index
        self._ids_by_position: list[int] = []
        self._ids_by_file: defaultdict[int, list[int]] = defaultdict(list)

    def add(self, ids: IntArray) -> None:
        """Add representatives. Ids must ascend from one call to the next."""
        for file_code, representative in zip(self.appearances.file_codes[ids].tolist(), ids.tolist(), strict=True):
            self._ids_by_file[file_code].append(representative)
        telling = ids[self.appearances.is_telling[ids]]
        self._hash_index.add(self.appearances.hashes[telling])
        self._ids_by_position += telling.tolist()

    def pairs_of(self, ids: IntArray) -> tuple[IntArray, IntArray]:
        """Return all pairs of a frame in `ids` and a representative that looks like it. A pair may occur twice.

        Returns:
            The positions of the frames within `ids`, and the ids of the representatives.
        """
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
