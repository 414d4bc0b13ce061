"""Test columns that are kept in unnamed files."""

import numpy as np

from data_miner_dagster.storage.spilled_columns import SpilledColumns


def test_mapped__nothing_was_added() -> None:
    with SpilledColumns(np.int32, np.float64) as columns:
        first, second = columns.mapped()
    assert (str(first.dtype), first.tolist()) == ("int32", [])
    assert (str(second.dtype), second.tolist()) == ("float64", [])


def test_mapped__what_was_added_part_by_part_outlives_the_block() -> None:
    with SpilledColumns(np.int32, np.float32) as columns:
        columns.add(np.array([1, 2]), np.array([0.5]))
        columns.add(np.array([3]), np.array([0.25, 0.125]))
        first, second = columns.mapped()
    assert (first.tolist(), second.tolist()) == ([1, 2, 3], [0.5, 0.25, 0.125])
    assert not first.flags.writeable
