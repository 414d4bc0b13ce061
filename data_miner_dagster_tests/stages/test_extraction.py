"""Targets and plans, on indexes written by hand."""

from dataclasses import replace
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_miner_dagster.config.extraction import ExtractionConfig, FrameQualityConfig
from data_miner_dagster.domain.decoding import GroupIndex, VideoIndex
from data_miner_dagster.domain.reasons import QualityFlag
from data_miner_dagster.stages.extraction import (
    RegularTimes,
    find_cuts,
    frames_on_screen,
    groups_to_read,
    plan_decoding,
    quality_flag,
    select_targets,
    spread,
)


def index_of(kinds: str, pts: list[int] | None = None, time_base: Fraction = Fraction(1, 10)) -> VideoIndex:
    """One letter a packet in decode order: I keyframe, P reference, b droppable, x hidden by an edit list."""
    order = pts if pts is not None else list(range(len(kinds)))
    return VideoIndex(
        time_base=time_base,
        pts=np.array(order, dtype=np.int64),
        is_keyframe=np.array([kind == "I" for kind in kinds], dtype=np.bool_),
        is_droppable=np.array([kind == "b" for kind in kinds], dtype=np.bool_),
        is_shown=np.array([kind != "x" for kind in kinds], dtype=np.bool_),
        size_bytes=np.ones(len(kinds), dtype=np.int64),
    )


P_B_B = [place for first in range(1, 25, 3) for place in (first + 2, first, first + 1)]
"""In decode order the places on screen of 24 packets of which each third is a reference."""
TEN_PER_SECOND = index_of("IPPPPPPPPP" * 3)  # three seconds, a keyframe a second


def sent(index: VideoIndex, targets: list[int]) -> list[int]:
    plan = plan_decoding(index, np.array(targets, dtype=np.int64))
    assert plan.is_sent is not None
    return np.flatnonzero(plan.is_sent).tolist()


@pytest.mark.parametrize("strategy", ["time", "interval", "keyframe", "scene", "uniform"])
def test_select_targets__no_frames(strategy: str) -> None:
    assert select_targets(index_of(""), ExtractionConfig.model_validate({"strategy": strategy})).tolist() == []


@pytest.mark.parametrize("strategy", ["time", "interval", "keyframe", "scene", "uniform"])
def test_select_targets__one_frame(strategy: str) -> None:
    assert select_targets(index_of("I", [7]), ExtractionConfig.model_validate({"strategy": strategy})).tolist() == [7]


def test_select_targets__time_counts_from_the_first_frame() -> None:
    index = index_of("I" * 25, [100 + k for k in range(25)])
    assert select_targets(index, ExtractionConfig(every_seconds=1.0)).tolist() == [100, 110, 120]


def test_select_targets__time_one_tenth_is_exact() -> None:
    index = index_of("I" * 1001, list(range(1001)), Fraction(1, 1000))
    assert select_targets(index, ExtractionConfig(every_seconds=0.1)).tolist() == list(range(0, 1001, 100))


def test_select_targets__time_with_variable_rate_takes_what_is_on_screen() -> None:
    index = index_of("IPPPP", [0, 3, 4, 25, 26])  # the frame at .4 s stays until 2.5 s
    assert select_targets(index, ExtractionConfig(every_seconds=1.0)).tolist() == [0, 4]


def test_select_targets__interval() -> None:
    assert select_targets(TEN_PER_SECOND, ExtractionConfig(strategy="interval", every_frames=12)).tolist() == [
        0,
        12,
        24,
    ]


def test_select_targets__interval_counts_in_order_of_presentation() -> None:
    index = index_of("IPbb", [0, 3, 1, 2])
    assert select_targets(index, ExtractionConfig(strategy="interval", every_frames=2)).tolist() == [0, 2]


def test_select_targets__uniform_takes_the_middles() -> None:
    assert select_targets(TEN_PER_SECOND, ExtractionConfig(strategy="uniform", num_frames=3)).tolist() == [5, 15, 25]


def test_select_targets__uniform_more_than_there_are() -> None:
    assert len(select_targets(index_of("IPP"), ExtractionConfig(strategy="uniform", num_frames=50))) == 3


def test_select_targets__keyframe() -> None:
    assert select_targets(TEN_PER_SECOND, ExtractionConfig(strategy="keyframe")).tolist() == [0, 10, 20]


def test_select_targets__keyframe_fills_long_gaps() -> None:
    index = index_of("I" + "P" * 100)  # ten seconds behind one keyframe
    filled = select_targets(index, ExtractionConfig(strategy="keyframe", max_gap_seconds=4.0)).tolist()
    assert filled == [0, 33, 66]
    assert select_targets(index, ExtractionConfig(strategy="keyframe", max_gap_seconds=None)).tolist() == [0]


def test_select_targets__scene_takes_the_middle_of_each_shot() -> None:
    config = ExtractionConfig(strategy="scene")
    assert select_targets(TEN_PER_SECOND, config, np.array([10, 20])).tolist() == [5, 15, 25]


def test_select_targets__hidden_frames_are_not_taken() -> None:
    index = index_of("IxxP", [-20, -10, 0, 10])
    assert select_targets(index, ExtractionConfig(strategy="interval", every_frames=1)).tolist() == [-20, 10]


def test_select_targets__snap_to_a_keyframe_in_reach() -> None:
    config = ExtractionConfig(every_seconds=0.7, snap_tolerance_seconds=0.2)
    # exact: 0 7 14 21 28; the keyframe at 20 is in reach of 21, those at 10 are not of 7 or 14
    assert select_targets(TEN_PER_SECOND, config).tolist() == [0, 7, 14, 20, 28]


def test_select_targets__snap_to_a_reference_frame() -> None:
    index = index_of("IPbbPbb", [0, 3, 1, 2, 6, 4, 5])
    config = ExtractionConfig(every_seconds=0.4, snap_tolerance_seconds=0.1)
    assert select_targets(index, config).tolist() == [0, 3]


def test_select_targets__cap_is_spread() -> None:
    config = ExtractionConfig(strategy="interval", every_frames=1, max_frames_per_video=3)
    assert select_targets(TEN_PER_SECOND, config).tolist() == [5, 15, 25]


def test_spread__fewer_than_the_cap() -> None:
    assert spread(np.array([1, 2]), 5).tolist() == [1, 2]


def test_frames_on_screen__before_the_first_and_after_the_last() -> None:
    index = index_of("IP", [5, 8])
    assert frames_on_screen(index, [Fraction(0), Fraction(100)]).tolist() == [5, 8]


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
    assert everything.num_sent == len(TEN_PER_SECOND)
    assert not everything.restarts


def groups_of(whole: VideoIndex, known: list[int]) -> GroupIndex:
    """The keyframes, the last group, and the groups of these ordinals."""
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
        # a keyframe within reach, but the next one may be nearer
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
    # 0, all 25 of group 1, 2, 3
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
    num_sent = plan_decoding(index, targets).num_sent
    assert num_sent is not None
    assert num_sent <= min(fixed_choices.values()), fixed_choices


def test_find_cuts__no_frames() -> None:
    assert find_cuts(np.zeros(0, np.int64), np.zeros(0), Fraction(1), threshold=8, min_scene_seconds=0).tolist() == []


def test_find_cuts__a_jump_is_a_cut_and_fast_motion_is_not() -> None:
    changes = np.array([0, 1, 1, 20, 1, 1, 9, 10, 11, 10, 9, 1], dtype=np.float32)
    cuts = find_cuts(np.arange(12), changes, Fraction(1, 10), threshold=8, min_scene_seconds=0)
    assert cuts.tolist() == [3]


def test_find_cuts__short_shots_join_the_one_before() -> None:
    changes = np.array([0, 1, 1, 20, 1, 1, 20, 1, 1, 1, 1, 20, 1], dtype=np.float32)
    cuts = find_cuts(np.arange(13), changes, Fraction(1, 10), threshold=8, min_scene_seconds=0.4)
    assert cuts.tolist() == [6, 11]


@pytest.mark.parametrize(
    ("sharpness", "brightness", "contrast", "expected"),
    [
        (500.0, 120.0, 50.0, None),
        (0.0, 5.0, 3.0, QualityFlag.BLACK),
        (50.0, 9.0, 25.0, None),  # a lamp at night
        (0.0, 200.0, 1.0, QualityFlag.FLAT),
        (8.0, 120.0, 50.0, QualityFlag.BLURRED),
    ],
)
def test_quality_flag__gravest_first(
    sharpness: float, brightness: float, contrast: float, expected: QualityFlag | None
) -> None:
    flag = quality_flag(sharpness=sharpness, brightness=brightness, contrast=contrast, config=FrameQualityConfig())
    assert flag is expected


@pytest.mark.parametrize(
    ("text_share", "plain_share", "expected"),
    [
        (None, None, None),
        (0.10, 0.90, QualityFlag.SLIDE),
        (0.10, 0.30, QualityFlag.TEXT),  # a page of a book
        (0.00, 0.90, None),  # a clear sky
        (0.03, 0.30, None),  # a shop's sign
    ],
)
def test_quality_flag__slides_and_text(
    text_share: float | None, plain_share: float | None, expected: QualityFlag | None
) -> None:
    measures = {"sharpness": 500.0, "brightness": 120.0, "contrast": 50.0}
    config = FrameQualityConfig(slide_plain_share=0.6, text_share=0.06)
    assert config.looks_for_text
    assert quality_flag(**measures, text_share=text_share, plain_share=plain_share, config=config) is expected
    assert quality_flag(**measures, text_share=0.1, plain_share=0.9, config=FrameQualityConfig()) is None


@given(
    kinds=st.text(alphabet="IPb", min_size=1, max_size=40).map(lambda rest: "I" + rest),
    shuffle=st.randoms(use_true_random=False),
    is_seekable=st.booleans(),
)
def test_plan_decoding__any_group_structure(kinds: str, shuffle: Random, is_seekable: bool) -> None:
    # presentation differs from decoding by at most a few places, as reordering does
    order = sorted(range(len(kinds)), key=lambda place: place + (shuffle.random() * 3 if place else -1))
    index = replace(index_of(kinds, order), is_seekable=is_seekable)
    targets = np.array(sorted(shuffle.sample(order, k=min(3, len(order)))), dtype=np.int64)
    plan = plan_decoding(index, targets)
    assert plan.is_sent is not None
    is_sent = plan.is_sent
    assert set(targets.tolist()) <= set(index.pts[is_sent].tolist())
    for place in np.flatnonzero(is_sent).tolist():
        # From a keyframe on, every reference picture before one that is sent is sent too.
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


@given(
    pts=st.lists(st.integers(0, 300), min_size=1, max_size=12, unique=True).map(sorted),
    start=st.fractions(0, 40, max_denominator=9),
    step=st.fractions(Fraction(1, 90), 3, max_denominator=90),
    count=st.integers(1, 300),
)
def test_regular_times__frames_as_by_every_single_time(
    pts: list[int], start: Fraction, step: Fraction, count: int
) -> None:
    index = index_of("I" * len(pts), pts)
    times = RegularTimes(start, step, count)
    expected = {max((p for p in pts if Fraction(p, 10) <= time), default=pts[0]) for time in times}
    assert times.frames_on_screen(index).tolist() == sorted(expected)


@pytest.mark.parametrize(
    "settings", [{"every_seconds": 0.5}, {"strategy": "keyframe"}, {"strategy": "uniform", "num_frames": 3}]
)
def test_select_targets__work_does_not_grow_with_claimed_times(settings: dict[str, object]) -> None:
    index = index_of("IPPIPI", [0, 1, 2, 10**12, 4 * 10**15, 4 * 10**15 + 1])
    config = ExtractionConfig.model_validate(settings)
    assert set(select_targets(index, config).tolist()) <= set(index.frame_pts.tolist())
