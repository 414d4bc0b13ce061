"""The two dynamic partition sets: videos and projects.

Their keys mirror the catalog. Listing a project's sources adds the keys of its videos, and a run adds the keys that it
processes. Dagster keeps the keys in the order of insertion.
"""

import warnings
from collections.abc import Collection
from typing import Final

import dagster as dg

from data_miner_dagster.sites.keys import order_of_asking

# Backfill policies and partitioned checks are used deliberately, at a pinned minor version, so users need no warning.
# They are filtered here because every module that declares an asset or a check imports this one first.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

VIDEOS: Final = dg.DynamicPartitionsDefinition(name="videos")
PROJECTS: Final = dg.DynamicPartitionsDefinition(name="projects")

LINEAGE_ONLY: Final = dg.SpecificPartitionsPartitionMapping([])
"""Draws the lineage arrow between the two sets without mapping any partitions. The asset checks its own inputs.

The UI's backfills would reject a custom mapping, since host processes cannot load it (dagster-io/dagster #17225).
"""

RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"
PARTITION_TAG: Final = "dagster/partition"

_ADD_CHUNK: Final = 5_000  # each call executes one SQL `IN (...)`


def add_partitions(
    instance: dg.DagsterInstance, definition: dg.DynamicPartitionsDefinition, keys: Collection[str]
) -> None:
    """Add the `keys` that the partition set lacks: videos in `order_of_asking`, projects alphabetically.

    The other keys of the set are not read.
    """
    name = definition.name
    assert name is not None
    ordered = sorted(set(keys), key=order_of_asking if definition is VIDEOS else None)
    for start in range(0, len(ordered), _ADD_CHUNK):
        instance.add_dynamic_partitions(name, ordered[start : start + _ADD_CHUNK])
