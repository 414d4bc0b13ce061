"""The two dynamic partition sets, and ranges over them.

Keys are a projection of the catalog: sensors and the CLI add them in batches. They are ordered by insertion.
"""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import dagster as dg

from data_miner_dagster.sites.keys import order_of_asking

# Backfill policies and partitioned checks are used deliberately, at a pinned minor version, so users need no warning.
# Filtered here because every module that declares an asset or a check imports this one first.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

VIDEOS: Final = dg.DynamicPartitionsDefinition(name="videos")
PROJECTS: Final = dg.DynamicPartitionsDefinition(name="projects")

LINEAGE_ONLY: Final = dg.SpecificPartitionsPartitionMapping([])
"""Draws the lineage arrow between the two sets without mapping any partitions: the asset checks its own inputs.

The UI's backfills would refuse a custom mapping, since host processes cannot load it (dagster-io/dagster #17225).
"""

RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"
PARTITION_TAG: Final = "dagster/partition"

_ADD_CHUNK: Final = 5_000  # each call makes one SQL `IN (...)`


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """A contiguous run of keys in insertion order, both ends included."""

    start: str
    end: str
    num_keys: int

    @property
    def tags(self) -> dict[str, str]:
        """The run tags that make Dagster materialize the whole range in one run."""
        return {RANGE_START_TAG: self.start, RANGE_END_TAG: self.end}


def plan_ranges(
    ordered_keys: Sequence[str], wanted: Collection[str], *, max_keys: int, bridges: Collection[str] = ()
) -> list[PartitionRange]:
    """Return ranges of at most `max_keys` keys that cover every wanted key once.

    A range may also include `bridges` (keys whose work is finished, so including them costs nothing), about as many as
    it has wanted keys, but no other key. Wanted keys that are not in `ordered_keys` are ignored.
    """
    wanted_set, bridge_set = set(wanted), set(bridges)
    ranges: list[PartitionRange] = []
    members: list[str] = []  # the open range, trailing bridges included
    num_wanted = length = 0  # `length` ends at the last wanted key

    def close() -> None:
        nonlocal num_wanted, length
        if num_wanted:
            ranges.append(PartitionRange(members[0], members[length - 1], length))
        members.clear()
        num_wanted = length = 0

    for key in ordered_keys:
        if key in wanted_set:
            num_bridges = len(members) - num_wanted
            if len(members) + 1 > max_keys or num_bridges > num_wanted + 1:
                close()
            members.append(key)
            num_wanted += 1
            length = len(members)
        elif key in bridge_set and members:
            members.append(key)
        else:
            close()
    close()
    return ranges


def keys_between(ordered_keys: Sequence[str], start: str, end: str) -> list[str]:
    """Return the keys of a range, both ends included; empty if either end is unknown."""
    positions = {key: index for index, key in enumerate(ordered_keys)}
    if start not in positions or end not in positions:
        return []
    return list(ordered_keys[positions[start] : positions[end] + 1])


def add_partitions(
    instance: dg.DagsterInstance, definition: dg.DynamicPartitionsDefinition, keys: Collection[str]
) -> int:
    """Add the missing keys in chunks, in the order in which they should be processed; return how many were added."""
    name = definition.name
    assert name is not None
    known = set(instance.get_dynamic_partitions(name))
    missing = sorted(set(keys) - known, key=order_of_asking if definition is VIDEOS else None)
    for start in range(0, len(missing), _ADD_CHUNK):
        instance.add_dynamic_partitions(name, missing[start : start + _ADD_CHUNK])
    return len(missing)
