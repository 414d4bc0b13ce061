"""How the work on one project is cut into shards, which several runs make at once."""

from collections.abc import Sequence
from typing import Final

from data_miner_dagster.domain.work import ShardRange

MOST_ITEMS: Final = 256
FEWEST_ITEMS: Final = 32
NUM_SHARDS: Final = 64
"""Shards that a project is cut into, as long as each has between the fewest and the most items."""
_SHARE_OF_REST: Final = 4
"""None has more than this part of what is left to cut: workers that are not equally fast still end together."""


def cut_into_shards(items: Sequence[str], batch_size: int) -> list[ShardRange]:
    """Return ranges of sorted items that cover them all. The same items and batch size give the same ranges.

    Each but the last holds whole batches: the items are batched as if one worker went through them all, and what a
    model says of an item may depend, in its last bits, on what it is shown with. The last few become smaller and
    smaller, down to one batch. Items that are enough for one shard only are not cut.
    """
    wanted = min(max(-(-len(items) // NUM_SHARDS), FEWEST_ITEMS), MOST_ITEMS)
    most = _whole_batches(wanted, batch_size)
    ranges: list[ShardRange] = []
    start = 0
    while start < len(items):
        left = len(items) - start
        size = most if len(items) <= most else min(_whole_batches(-(-left // _SHARE_OF_REST), batch_size), most)
        size = min(size, left)
        ranges.append(ShardRange(items[start], items[start + size - 1], start, size))
        start += size
    return ranges


def _whole_batches(num_items: int, batch_size: int) -> int:
    return -(-num_items // batch_size) * batch_size
