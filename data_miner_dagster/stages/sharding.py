"""How the work on one project is cut into shards, which several runs make at once."""

from collections.abc import Sequence
from typing import Final

from data_miner_dagster.domain.work import ShardRange

MOST_ITEMS: Final = 256
FEWEST_ITEMS: Final = 32
NUM_SHARDS: Final = 64
"""Shards that a project is cut into, as long as each has between the fewest and the most items."""


def cut_into_shards(items: Sequence[str], batch_size: int) -> list[ShardRange]:
    """Return ranges of sorted items that cover them all. The same items and batch size give the same ranges.

    Each but the last holds whole batches: the items are batched as if one worker went through them all, and what a
    model says of an item may depend, in its last bits, on what it is shown with.
    """
    wanted = min(max(-(-len(items) // NUM_SHARDS), FEWEST_ITEMS), MOST_ITEMS)
    size = -(-wanted // batch_size) * batch_size
    return [
        ShardRange(items[start], items[min(start + size, len(items)) - 1], start, min(size, len(items) - start))
        for start in range(0, len(items), size)
    ]
