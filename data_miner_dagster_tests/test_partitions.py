"""Test the keys of the dynamic partition sets."""

import dagster as dg

from data_miner_dagster.partitions import VIDEOS, add_partitions


def test_add_partitions__adds_only_the_missing_ones_sorted() -> None:
    with dg.instance_for_test() as instance:
        add_partitions(instance, VIDEOS, ["b", "a"])
        add_partitions(instance, VIDEOS, ["c", "a"])
        assert instance.get_dynamic_partitions("videos") == ["a", "b", "c"]


def test_add_partitions__videos_of_names_alike_are_no_neighbours() -> None:
    """Each site's videos stay together, in the order of their hashes."""
    keys = ["generic-cut-1.c0", "generic-cut-2.a1", "generic-whole-1.b2", "file-9a", "file-0b", "tube-x"]
    with dg.instance_for_test() as instance:
        add_partitions(instance, VIDEOS, keys)
        assert instance.get_dynamic_partitions("videos") == [
            "file-0b",
            "file-9a",
            "generic-cut-2.a1",
            "generic-whole-1.b2",
            "generic-cut-1.c0",
            "tube-x",
        ]
