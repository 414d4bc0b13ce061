"""Cut the work on one project into shards, which several runs process in parallel."""

from collections.abc import Sequence
from typing import Final

from data_miner_dagster.domain.work import ShardRange

MOST_ITEMS: Final = 256
FEWEST_ITEMS: Final = 32
NUM_SHARDS: Final = 64
"""The maximum size of a shard is a project's number of items divided by this, but at least `FEWEST_ITEMS` and at most
`MOST_ITEMS`, rounded up to whole batches."""
_SHARE_OF_REST: Final = 4
"""A shard has at most 1 / `_SHARE_OF_REST` of the remaining work, rounded up to whole batches, so workers of
different speeds finish at about the same time."""


def cut_into_shards(items: Sequence[str], batch_size: int) -> list[ShardRange]:
    """Return ranges that cover sorted items. Equal items and batch sizes give equal ranges.

    All shards except the last contain whole batches. Items are batched as if one worker processed them all, because the
    last bits of a model's result for an item may depend on its batch. The last few shards become smaller and smaller,
    down to one batch. If there are enough items for only one shard, they are not cut.
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
