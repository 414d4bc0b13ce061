"""Video indexes that are written by hand."""

from fractions import Fraction

import numpy as np

from data_miner_dagster.domain.decoding import VideoIndex


def index_of(kinds: str, pts: list[int] | None = None, time_base: Fraction = Fraction(1, 10)) -> VideoIndex:
    """Return an index from one letter per packet, in decode order.

    The letters mean: I keyframe, P reference, b droppable, x hidden by an edit list.
    """
    order = pts if pts is not None else list(range(len(kinds)))
    return VideoIndex(
        time_base=time_base,
        pts=np.array(order, dtype=np.int64),
        is_keyframe=np.array([kind == "I" for kind in kinds], dtype=np.bool_),
        is_droppable=np.array([kind == "b" for kind in kinds], dtype=np.bool_),
        is_shown=np.array([kind != "x" for kind in kinds], dtype=np.bool_),
        size_bytes=np.ones(len(kinds), dtype=np.int64),
    )


P_B_B = [place for first in range(1, 25, 3) for place in (first + 2, first, first + 1)]
"""The display positions of 24 packets, listed in decode order. Every third packet is a reference."""
TEN_PER_SECOND = index_of("IPPPPPPPPP" * 3)  # three seconds with one keyframe per second
