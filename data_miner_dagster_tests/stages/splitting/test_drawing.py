from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.splits import draw
from data_miner_dagster.stages.splitting.drawing import VideoContent, draw_splits
from data_miner_dagster.stages.splitting.groups import divided_groups, group_videos
from data_miner_dagster_tests.stages.splitting.projects import SHARES, alike, contents_of, keys, linked_videos


def numbers_of(splits: dict[str, str]) -> dict[str, int]:
    return {split: list(splits.values()).count(split) for split in SHARES}


def test_draw_splits__empty() -> None:
    assert draw_splits([], SHARES, {}) == {}


@given(st.data())
def test_draw_splits__groups_stay_together_and_train_is_never_empty(data: st.DataObject) -> None:
    videos, links = data.draw(linked_videos())
    groups = group_videos(videos, links)
    contents = data.draw(contents_of(videos))
    splits = draw_splits(groups, SHARES, contents)
    assert splits.keys() == set(videos)
    assert divided_groups(groups, splits) == []
    assert "train" in splits.values()
    assert ("val" in splits.values()) == (len(groups) > 1)  # a second group goes to val, a third to test
    assert ("test" in splits.values()) or len(groups) < 3
    shuffled = dict(sorted(contents.items(), reverse=True))
    assert draw_splits(groups[::-1], SHARES, shuffled) == splits  # the order of the input does not matter


@given(st.data())
@settings(max_examples=50)
def test_draw_splits__no_old_video_moves_as_the_project_grows(data: st.DataObject) -> None:
    videos, links = data.draw(linked_videos())
    grown = sorted({*videos, *data.draw(keys)})
    contents = data.draw(contents_of(grown))
    before = draw_splits(group_videos(videos, links), SHARES, contents)
    more = data.draw(st.lists(st.tuples(st.sampled_from(grown), st.sampled_from(grown)), max_size=10))
    after = draw_splits(group_videos(grown, [*links, *more]), SHARES, contents, before)
    assert {key: after[key] for key in videos} == before
    assert after.keys() == set(grown)


def test_draw_splits__long_tailed_classes_over_50_seeds() -> None:
    drawn = [draw(seed, num_videos=200, num_newcomers=50, num_classes=10) for seed in range(50)]
    assert median(error for one in drawn for error in one.box_errors) <= 2
    assert median(error for one in drawn for error in one.image_errors) <= 2
    assert sum(one.num_lacking for one in drawn) == 0
    assert sum(one.num_moved for one in drawn) == 0


def test_draw_splits__shares_are_met_exactly_where_videos_are_alike() -> None:
    contents = alike(1_000)
    splits = draw_splits([(key,) for key in sorted(contents)], SHARES, contents)
    assert numbers_of(splits) == {"train": 800, "test": 100, "val": 100}
    # names favour no split: about 80 of the first 100 by name are in train
    assert 65 < sum(splits[key] == "train" for key in sorted(contents)[:100]) < 95


@pytest.mark.parametrize("sizes", [(1, 2, 1), (2, 1, 1), (1, 1, 2), (1, 3, 5), (4, 9, 2, 1)])
def test_draw_splits__where_groups_are_few_most_images_train(sizes: tuple[int, ...]) -> None:
    contents = {
        key: VideoContent(size, {size % 2: size}, {size % 2: 3 * size})
        for key, size in zip("abcd", sizes, strict=False)
    }
    splits = draw_splits([(key,) for key in contents], SHARES, contents)
    assert set(splits.values()) == set(SHARES)
    largest = max(contents, key=lambda key: contents[key].num_images)
    assert splits[largest] == "train"
    held = {key: "val" for key in contents if key == largest}
    assert draw_splits([(key,) for key in contents], SHARES, contents, held)[largest] == "val"  # as released


def test_draw_splits__ten_groups_of_a_class_reach_every_split() -> None:
    rare = {f"rare-{index}": VideoContent(10, {1: 1}, {1: 1}) for index in range(10)}
    contents = {**alike(90), **rare}
    splits = draw_splits([(key,) for key in sorted(contents)], SHARES, contents)
    assert numbers_of({key: splits[key] for key in rare}) == {"train": 8, "test": 1, "val": 1}


def test_draw_splits__newcomers_mend_what_earlier_draws_left() -> None:
    contents = alike(100)
    remembered = dict.fromkeys(sorted(contents)[:50], "train")
    splits = draw_splits([(key,) for key in sorted(contents)], SHARES, contents, remembered)
    assert numbers_of(splits) == {"train": 80, "test": 10, "val": 10}
    assert splits.items() >= remembered.items()


def test_draw_splits__a_new_link_moves_no_video() -> None:
    remembered = {"files-a": "test", "files-b": "train", "files-c": "val"}
    groups = [("files-a", "files-b", "files-new"), ("files-c",)]
    linked = draw_splits(groups, SHARES, {}, remembered)
    assert linked == {**remembered, "files-new": "train"}
    assert divided_groups(groups, linked) == [("files-a", "files-b", "files-new")]


def test_draw_splits__a_link_to_a_video_cut_in_time_leads_to_train() -> None:
    cut = "train 0.000-6.000, val 7.000-end"
    assert draw_splits([("files-a", "files-new")], SHARES, {}, {"files-a": cut}) == {
        "files-a": cut,
        "files-new": "train",
    }


def test_draw_splits__train_stays_empty_where_every_video_has_a_split() -> None:
    assert draw_splits([("files-a",)], SHARES, {}, {"files-a": "test"}) == {"files-a": "test"}


def test_draw_splits__folds_are_of_equal_size() -> None:
    contents = alike(50)
    folds = dict.fromkeys([f"fold_{number}" for number in range(1, 6)], 0.2)
    splits = draw_splits([(key,) for key in sorted(contents)], folds, contents)
    assert [list(splits.values()).count(fold) for fold in folds] == [10, 10, 10, 10, 10]
