"""Test which frames are chosen from hand-written indexes, and which quality flags pictures get."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_miner_dagster.config.extraction import ExtractionConfig, FrameQualityConfig
from data_miner_dagster.domain.reasons import QualityFlag
from data_miner_dagster.stages.extraction import (
    RegularTimes,
    find_cuts,
    frames_on_screen,
    quality_flag,
    select_targets,
    spread,
)
from data_miner_dagster_tests.stages.video_indexes import TEN_PER_SECOND, index_of


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
    index = index_of("IPPPP", [0, 3, 4, 25, 26])  # the frame at .4 s stays on screen until 2.5 s
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


def test_select_targets__keyframe_takes_the_first_frame_if_no_keyframe_is_shown() -> None:
    index = index_of("xPPP")
    assert select_targets(index, ExtractionConfig(strategy="keyframe", max_gap_seconds=None)).tolist() == [1]
    assert select_targets(index, ExtractionConfig(strategy="keyframe", max_gap_seconds=0.1)).tolist() == [1, 2]


def test_select_targets__keyframe_fills_long_gaps() -> None:
    index = index_of("I" + "P" * 100)  # one keyframe, then ten seconds without another
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
    # without snapping: 0 7 14 21 28; 21 is near enough to the keyframe at 20, but 7 and 14 are too far from that at 10
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
        (0.10, 0.30, QualityFlag.TEXT),  # a page from a book
        (0.00, 0.90, None),  # a clear sky
        (0.03, 0.30, None),  # a shop sign
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
