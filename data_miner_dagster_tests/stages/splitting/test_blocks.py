from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_miner_dagster.domain.splits import cut_of, split_at, splits_in
from data_miner_dagster.stages.splitting.blocks import cut_in_blocks
from data_miner_dagster_tests.stages.splitting.projects import SHARES


def test_cut_in_blocks__a_minute_with_an_image_a_second() -> None:
    # The gap is a twentieth of 99 s: 4.95 s. Each of two gaps costs four images, and a tenth of the other 92 is nine.
    cut = cut_in_blocks([float(second) for second in range(100)], SHARES, None)
    assert cut == "train 0.000-73.050, test 78.000-86.050, val 91.000-end"
    found = [split_at(cut, float(second)) for second in range(100)]
    assert found == [*["train"] * 74, *[None] * 4, *["test"] * 9, *[None] * 4, *["val"] * 9]
    assert splits_in(cut) == ("train", "test", "val")


def test_cut_in_blocks__a_prescribed_gap() -> None:
    cut = cut_in_blocks([float(second) for second in range(100)], {"train": 0.8, "val": 0.2}, 20.0)
    assert cut == "train 0.000-64.000, val 84.000-end"


def test_cut_in_blocks__three_images() -> None:
    assert cut_in_blocks([0.0, 1.0, 2.0], SHARES, 0.0) == "train 0.000-1.000, test 1.000-2.000, val 2.000-end"


@pytest.mark.parametrize(
    ("times", "shares", "guard"),
    [
        ([], SHARES, None),
        ([0.0, 1.0], SHARES, None),  # fewer images than splits
        ([0.0, 1.0, 2.0], {"train": 1.0}, None),
        ([0.0, 1.0, 2.0, 3.0], SHARES, 10.0),  # the gap would swallow a split
    ],
)
def test_cut_in_blocks__none_where_a_split_would_be_empty(
    times: list[float], shares: dict[str, float], guard: float | None
) -> None:
    assert cut_in_blocks(times, shares, guard) is None


@given(
    st.lists(st.floats(0, 10_000, allow_nan=False), min_size=3, max_size=60, unique=True).map(sorted),
    st.sampled_from([None, 0.0, 1.0, 30.0]),
)
def test_cut_in_blocks__every_split_has_an_image_and_gaps_are_as_wide_as_said(
    times: list[float], guard: float | None
) -> None:
    cut = cut_in_blocks(times, SHARES, guard)
    if cut is None:
        return
    found = [split_at(cut, time) for time in times]
    assert set(found) - {None} == set(SHARES)
    places = [list(SHARES).index(split) for split in found if split]
    assert places == sorted(places)  # each split is one block, in order
    blocks = cut_of(cut)
    wide = min(5.0, 0.05 * (times[-1] - times[0])) if guard is None else guard
    for one, next_one in pairwise(blocks):
        assert one.stop_seconds is not None
        assert next_one.start_seconds - one.stop_seconds == pytest.approx(wide, abs=2e-3)


def test_split_at__what_lies_before_the_first_block_belongs_to_it() -> None:
    cut = "train 0.000-6.000, val 7.000-end"
    assert [split_at(cut, time) for time in (-0.5, 6.0, 6.9, 7.0)] == ["train", None, None, "val"]


def test_split_at__a_whole_video() -> None:
    assert (split_at("val", 3.0), splits_in("val"), cut_of("val")) == ("val", ("val",), ())
