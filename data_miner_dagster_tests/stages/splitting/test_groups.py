from hypothesis import given

from data_miner_dagster.stages.splitting.groups import channel_links, divided_groups, group_videos, merge_splits
from data_miner_dagster_tests.stages.splitting.projects import ORDER, linked_videos


def test_group_videos__empty() -> None:
    assert group_videos([], []) == []


def test_group_videos__chains_and_strangers() -> None:
    links = [("b", "a"), ("c", "b"), ("e", "elsewhere"), ("f", "elsewhere")]
    assert group_videos(["a", "b", "c", "d", "e", "f"], links) == [("a", "b", "c"), ("d",), ("e", "f")]


@given(linked_videos())
def test_group_videos__every_video_once_and_links_within(case: tuple[list[str], list[tuple[str, str]]]) -> None:
    videos, links = case
    groups = group_videos(videos, links)
    assert sorted(key for group in groups for key in group) == sorted(videos)
    group_of = {key: index for index, group in enumerate(groups) for key in group}
    assert all(group_of[first] == group_of[second] for first, second in links)
    assert groups == group_videos(videos[::-1], [(second, first) for first, second in links[::-1]])


def test_channel_links__an_unknown_channel_links_nothing() -> None:
    channels = {"a": "one", "b": None, "c": "two", "d": "one", "e": None, "f": "one", "g": ""}
    assert group_videos(list(channels), channel_links(channels)) == [("a", "d", "f"), ("b",), ("c",), ("e",), ("g",)]


def test_divided_groups__a_group_in_two_splits() -> None:
    splits = {"a": "train", "b": "val", "c": "val"}
    assert divided_groups([("a", "b"), ("c",)], splits) == [("a", "b")]


def test_merge_splits__none() -> None:
    assert merge_splits([], ORDER) == {}


def test_merge_splits__the_newest_is_right_and_what_was_trained_on_stays() -> None:
    old = {"files-a": "test", "files-b": "val", "files-c": "test"}
    middle = {"files-a": "train", "files-b": "train"}
    new = {"files-a": "test"}
    assert merge_splits([old, middle, new], ORDER) == {"files-a": "test", "files-b": "train", "files-c": "test"}


def test_merge_splits__a_cut_in_time_is_kept_unless_the_video_was_whole() -> None:
    cut = "train 0.000-6.000, val 7.000-end"
    assert merge_splits([{"files-a": cut, "files-b": cut}, {"files-b": "val"}, {}], ORDER) == {
        "files-a": cut,
        "files-b": "val",
    }
