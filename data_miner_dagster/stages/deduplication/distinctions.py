"""Pairs that count as different although their files, hashes or embeddings are alike.

There are two reasons: something changed in a fixed view (`views.py`), or a person decided that the two frames are not
duplicates. Both are part of the definition of "within reach", for the search and for its verification.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np

from data_miner_dagster.stages.deduplication.cosines import BoolArray, IntArray
from data_miner_dagster.stages.deduplication.views import ThumbnailArray, Views


@dataclass(frozen=True, slots=True)
class Distinctions:
    """The rules that decide which pairs of frames count as different. Frames have ids as in `Assignment`."""

    thumbnails: Callable[[IntArray], ThumbnailArray] | None = None  # by frame id, or None if views are not compared
    video_codes: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,)
    is_across_videos: bool = True  # whether views of two videos are compared, too
    said_different: Collection[tuple[int, int]] = frozenset()  # (lower id, higher id)

    @property
    def is_empty(self) -> bool:
        """True if there are no rules, so no pair counts as different."""
        return self.thumbnails is None and not self.said_different

    def are_apart(self, ids: IntArray, others: IntArray) -> BoolArray:
        """Return a (P,) mask of the pairs that count as different. The order within a pair does not matter."""
        low, high = np.minimum(ids, others), np.maximum(ids, others)
        if self.said_different:
            pairs = zip(low.tolist(), high.tolist(), strict=True)
            is_apart = np.fromiter((pair in self.said_different for pair in pairs), np.bool_, len(low))
        else:
            is_apart = np.zeros(len(low), np.bool_)
        if self.thumbnails is None:
            return is_apart
        is_open = ~is_apart
        if not self.is_across_videos:
            is_open &= self.video_codes[low] == self.video_codes[high]
        compared = np.flatnonzero(is_open)
        if len(compared):
            frames, places = np.unique(np.concatenate([low[compared], high[compared]]), return_inverse=True)
            views = Views(self.thumbnails(frames), self.video_codes[frames])
            is_apart[compared] = views.are_changed(places[: len(compared)], places[len(compared) :])
        return is_apart


NOTHING_APART = Distinctions()
