"""The pictures to decode in order to get certain frames, on hand-written indexes."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.decoding import GroupIndex, VideoIndex
from data_miner_dagster.stages.extraction import (
    groups_to_read,
    plan_decoding,
    select_targets,
)
from data_miner_dagster_tests.stages.video_indexes import P_B_B, TEN_PER_SECOND, index_of


def sent(index: VideoIndex, targets: list[int]) -> list[int]:
    plan = plan_decoding(index, np.array(targets, dtype=np.int64))
    assert plan.is_sent is not None
    return np.flatnonzero(plan.is_sent).tolist()


def test_plan_decoding__nothing_wanted() -> None:
    assert sent(TEN_PER_SECOND, []) == []


def test_plan_decoding__keyframes_only() -> None:
    assert sent(TEN_PER_SECOND, [0, 10, 20]) == [0, 10, 20]


def test_plan_decoding__up_to_the_last_target_of_a_group() -> None:
    plan = plan_decoding(TEN_PER_SECOND, np.array([2, 21]))
    assert sent(TEN_PER_SECOND, [2, 21]) == [0, 1, 2, 20, 21]
    assert plan.restarts == {20}


def test_plan_decoding__leaves_out_what_nothing_refers_to() -> None:
    index = index_of("IPbbPbb", [0, 3, 1, 2, 6, 4, 5])
    assert sent(index, [5]) == [0, 1, 4, 6]


def test_plan_decoding__frames_shown_before_their_keyframe_start_one_group_earlier() -> None:
    index = index_of("IPPIbbP", [0, 1, 2, 5, 3, 4, 6])
    assert sent(index, [4]) == [0, 1, 2, 3, 5]
    assert sent(index, [6]) == [3, 6]


def test_plan_decoding__never_more_than_straight_through() -> None:
    everything = plan_decoding(TEN_PER_SECOND, TEN_PER_SECOND.frame_pts)
    assert everything.is_sent is not None
    assert everything.is_sent.sum() == len(TEN_PER_SECOND)
    assert not everything.restarts


def groups_of(whole: VideoIndex, known: list[int]) -> GroupIndex:
    """Return the part of the index with the keyframes, the last group, and the groups with these ordinals."""
    group = np.cumsum(whole.is_keyframe) - 1
    is_known = whole.is_keyframe | np.isin(group, [*known, group[-1]])
    return GroupIndex(
        time_base=whole.time_base,
        pts=whole.pts[is_known],
        is_keyframe=whole.is_keyframe[is_known],
        is_droppable=whole.is_droppable[is_known],
        is_shown=whole.is_shown[is_known],
        size_bytes=whole.size_bytes[is_known],
        is_seekable=True,
        file_ordinals=np.flatnonzero(is_known),
        num_packets=len(whole),
    )


TWENTY_GROUPS = index_of(("I" + "Pbb" * 8) * 20, [25 * g + k for g in range(20) for k in (0, *P_B_B)])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"strategy": "keyframe"}, []),
        ({"strategy": "keyframe", "max_gap_seconds": 2.0}, None),
        ({"strategy": "time", "every_seconds": 5.0}, []),  # keyframes are 2.5 s apart
        ({"strategy": "time", "every_seconds": 7.0}, [2, 5, 8, 11, 16]),  # 35 s is the 14th keyframe
        ({"strategy": "time", "every_seconds": 7.0, "snap_tolerance_seconds": 0.5}, [2, 5, 8, 16]),
        # a keyframe is within the tolerance, but the next one may be nearer
        ({"strategy": "time", "every_seconds": 7.0, "snap_tolerance_seconds": 2.0}, [2, 5, 16]),
        ({"strategy": "time", "every_seconds": 1.0}, None),
        ({"strategy": "uniform", "num_frames": 3}, [3, 16]),
        ({"strategy": "interval", "every_frames": 100}, []),
        ({"strategy": "interval", "every_frames": 110}, [4, 8, 13, 17]),
        ({"strategy": "scene"}, None),
    ],
    ids=str,
)
def test_groups_to_read__those_whose_frames_may_be_chosen(
    settings: dict[str, object], expected: list[int] | None
) -> None:
    config = ExtractionConfig.model_validate(settings)
    groups = groups_to_read(groups_of(TWENTY_GROUPS, []), config)
    assert (None if groups is None else groups.tolist()) == expected
    if groups is not None:
        known = groups_of(TWENTY_GROUPS, groups.tolist())
        assert select_targets(known, config).tolist() == select_targets(TWENTY_GROUPS, config).tolist()
        nothing = groups_to_read(known, config)
        assert nothing is not None
        assert nothing.tolist() == []


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=20),
    seed=st.integers(0, 1000),
    strategy=st.sampled_from(["time", "uniform", "interval", "keyframe"]),
    every=st.integers(1, 300),
    tolerance=st.sampled_from([0.0, 0.1, 0.5, 3.0]),
)
def test_groups_to_read__any_groups(sizes: list[int], seed: int, strategy: str, every: int, tolerance: float) -> None:
    steps = np.random.default_rng(seed).integers(1, 12, sum(sizes))
    whole = index_of("".join(("I" + "Pb" * 15)[:size] for size in sizes), np.cumsum(steps).tolist())
    config = ExtractionConfig.model_validate(
        {
            "strategy": strategy,
            "every_seconds": every / 10,
            "num_frames": every,
            "every_frames": every,
            "max_gap_seconds": every / 10,
            "snap_tolerance_seconds": tolerance,
        }
    )
    groups = groups_to_read(groups_of(whole, []), config)
    if groups is not None:
        known = groups_of(whole, groups.tolist())
        assert select_targets(known, config).tolist() == select_targets(whole, config).tolist()


def test_group_index__numbers_are_those_of_the_whole_video() -> None:
    known = groups_of(TWENTY_GROUPS, [0, 7])
    assert len(known) == 20 + 3 * 24
    assert known.num_frames == 500
    for pts in known.frame_pts.tolist():
        assert known.frame_number_of(pts) == TWENTY_GROUPS.frame_number_of(pts)


def test_plan_decoding__what_is_not_known_is_passed_over_by_seeks() -> None:
    known = groups_of(TWENTY_GROUPS, [1])
    plan = plan_decoding(known, known.keyframe_pts[:4])
    # The known packets are keyframe 0, all 25 of group 1, and keyframes 2 and 3.
    assert plan.is_sent is not None
    assert np.flatnonzero(plan.is_sent).tolist() == [0, 1, 26, 27]
    assert plan.restarts == {1, 26, 27}
    assert plan.seeks == {0, 1, 26, 27}


FILMS = {
    "five seconds, three droppable": index_of(("I" + "Pbbb" * 37) * 12),
    "two seconds, none droppable": index_of(("I" + "P" * 59) * 10),
    "uneven groups": index_of("I" + "Pb" * 200 + "IPb" * 20 + "I" + "P" * 90),
    "keyframes only": index_of("I" * 200),
    "one group": index_of("I" + "Pbb" * 300),
}


@pytest.mark.parametrize("film", FILMS)
@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "time", "every_seconds": 1.0},
        {"strategy": "time", "every_seconds": 1.0, "snap_tolerance_seconds": 0.5},
        {"strategy": "time", "every_seconds": 30.0},
        {"strategy": "interval", "every_frames": 1},
        {"strategy": "interval", "every_frames": 7},
        {"strategy": "keyframe", "max_gap_seconds": None},
        {"strategy": "uniform", "num_frames": 5},
    ],
    ids=str,
)
def test_plan_decoding__no_fixed_choice_decodes_fewer_packets(film: str, settings: dict[str, object]) -> None:
    index = FILMS[film]
    targets = select_targets(index, ExtractionConfig.model_validate(settings))
    places = np.flatnonzero(np.isin(index.pts, targets))
    keyframes = np.flatnonzero(index.is_keyframe)
    starts = keyframes[np.searchsorted(keyframes, places, side="right") - 1]
    fixed_choices = {
        "straight through": int(places[-1]) + 1,
        "a seek a target": int(np.sum(places - starts + 1)),
    }
    if not index.is_droppable[places].any():
        fixed_choices["skip what nothing refers to"] = int(np.sum(~index.is_droppable[: places[-1] + 1]))
    if index.is_keyframe[places].all():
        fixed_choices["keyframes only"] = int(np.sum(index.is_keyframe))
    plan = plan_decoding(index, targets)
    assert plan.is_sent is not None
    assert plan.is_sent.sum() <= min(fixed_choices.values()), fixed_choices


@given(
    kinds=st.text(alphabet="IPb", min_size=1, max_size=40).map(lambda rest: "I" + rest),
    shuffle=st.randoms(use_true_random=False),
    is_seekable=st.booleans(),
)
def test_plan_decoding__any_group_structure(kinds: str, shuffle: Random, is_seekable: bool) -> None:
    # as in real files, the presentation order differs from the decoding order by only a few places
    order = sorted(range(len(kinds)), key=lambda place: place + (shuffle.random() * 3 if place else -1))
    index = replace(index_of(kinds, order), is_seekable=is_seekable)
    targets = np.array(sorted(shuffle.sample(order, k=min(3, len(order)))), dtype=np.int64)
    plan = plan_decoding(index, targets)
    assert plan.is_sent is not None
    is_sent = plan.is_sent
    assert set(targets.tolist()) <= set(index.pts[is_sent].tolist())
    for place in np.flatnonzero(is_sent).tolist():
        # Every reference picture between a keyframe and a sent picture is sent, too.
        before = place
        while not index.is_keyframe[before] or index.pts[before] > index.pts[place]:
            before -= 1
            if before < 0:
                break
            assert is_sent[before] or index.is_droppable[before] or before < _start_of(plan.restarts, place)
    for restart in plan.restarts | plan.seeks:
        assert index.is_keyframe[restart] or restart == 0
        assert is_sent[restart]


def _start_of(restarts: frozenset[int], place: int) -> int:
    return max((restart for restart in restarts if restart <= place), default=0)
