"""Ranges over the dynamic partition sets."""

import dagster as dg
from hypothesis import given
from hypothesis import strategies as st

from data_miner_dagster.partitions import VIDEOS, PartitionRange, add_partitions, keys_between, plan_ranges


def test_plan_ranges__empty() -> None:
    assert plan_ranges([], [], max_keys=25) == []
    assert plan_ranges(["a"], [], max_keys=25) == []


def test_plan_ranges__breaks_at_other_keys_and_at_the_size() -> None:
    assert plan_ranges(list("abcdefg"), "abdefg", max_keys=3) == [
        PartitionRange("a", "b", 2),
        PartitionRange("d", "f", 3),
        PartitionRange("g", "g", 1),
    ]


def test_plan_ranges__bridges_finished_keys_but_does_not_end_in_them() -> None:
    assert plan_ranges(list("abcdef"), "ace", max_keys=25, bridges="bdf") == [PartitionRange("a", "e", 5)]


def test_plan_ranges__does_not_bridge_more_than_it_wants() -> None:
    keys = ["w0", *[f"b{i}" for i in range(10)], "w1"]
    ranges = plan_ranges(keys, ["w0", "w1"], max_keys=25, bridges=keys[1:-1])
    assert ranges == [PartitionRange("w0", "w0", 1), PartitionRange("w1", "w1", 1)]


@given(
    kinds=st.lists(st.sampled_from(["wanted", "bridge", "other"]), max_size=60),
    max_keys=st.integers(min_value=1, max_value=7),
)
def test_plan_ranges__covers_every_wanted_key_once_and_no_other_key(kinds: list[str], max_keys: int) -> None:
    keys = [f"{index:02d}-{kind}" for index, kind in enumerate(kinds)]
    wanted = [key for key in keys if key.endswith("wanted")]
    bridges = [key for key in keys if key.endswith("bridge")]
    covered: list[str] = []
    for keys_range in plan_ranges(keys, wanted, max_keys=max_keys, bridges=bridges):
        members = keys_between(keys, keys_range.start, keys_range.end)
        assert len(members) == keys_range.num_keys <= max_keys
        assert members[0] in wanted
        assert members[-1] in wanted
        covered += members
    assert [key for key in covered if key in wanted] == wanted
    assert not [key for key in covered if key.endswith("other")]


def test_keys_between__unknown_end() -> None:
    assert keys_between(list("abc"), "a", "z") == []
    assert keys_between(list("abc"), "b", "c") == ["b", "c"]


def test_add_partitions__adds_only_the_missing_ones_sorted() -> None:
    with dg.instance_for_test() as instance:
        assert add_partitions(instance, VIDEOS, ["b", "a"]) == 2
        assert add_partitions(instance, VIDEOS, ["c", "a"]) == 1
        assert instance.get_dynamic_partitions("videos") == ["a", "b", "c"]


def test_add_partitions__videos_of_names_alike_are_no_neighbours() -> None:
    """Each site's videos stay together, and are in the order of their hashes."""
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
