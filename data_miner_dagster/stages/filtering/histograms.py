"""Histograms of similarities as one line of text that fits into a table cell."""

from typing import Final

import numpy as np
import numpy.typing as npt

BIN_WIDTH: Final = 0.01
_NUM_BINS: Final = 200
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_MAX_COLUMNS: Final = 40


def count_similarities(similarities: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Count finite similarities in bins of BIN_WIDTH over -1..1. Counts of several batches can be added."""
    finite = similarities[np.isfinite(similarities)].astype(np.float64)
    # The small shift keeps 0.29 in the bin that starts at 0.29 despite float rounding.
    bins = np.floor((finite + 1) / BIN_WIDTH + 1e-6).astype(np.int64)
    return np.bincount(np.clip(bins, 0, _NUM_BINS - 1), minlength=_NUM_BINS)


def histogram_line(counts: npt.NDArray[np.int64]) -> str:
    """Return a histogram as a string between its bounds, such as `0.05 ▁▃█▂ 0.61`, or "" if nothing was counted."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return ""
    first, last = int(filled[0]), int(filled[-1]) + 1
    per_column = -(-(last - first) // _MAX_COLUMNS)
    columns = np.add.reduceat(counts[first:last], np.arange(0, last - first, per_column))
    heights = np.ceil(columns / columns.max() * (len(_BLOCKS) - 1)).astype(int)
    low, high = first * BIN_WIDTH - 1, last * BIN_WIDTH - 1
    return f"{low:.2f} {''.join(_BLOCKS[height] for height in heights.tolist())} {high:.2f}"
