import pytest

from data_miner_dagster.config.tracking import TrackingConfig
from data_miner_dagster.stages.detection.windows import WantedTimes, expected_looks, num_looks, wanted_times

TRACKING = TrackingConfig(window_seconds=0.5, every_seconds=0.25)


def test_wanted_times__lie_on_the_videos_clock_and_are_shared() -> None:
    assert wanted_times([], TRACKING) == WantedTimes()
    assert sorted(wanted_times([1.1], TRACKING).times_us) == [750_000, 1_000_000, 1_250_000, 1_500_000]
    near = wanted_times([1.0, 1.3], TRACKING).times_us
    assert sorted(near) == [500_000, 750_000, 1_000_000, 1_250_000, 1_500_000, 1_750_000]


def test_wanted_times__whole_clips_hold_every_window() -> None:
    whole = wanted_times([1.0], TRACKING.model_copy(update={"whole_clip": True}))
    assert whole == WantedTimes(steps_us=frozenset([250_000]))
    assert whole.covers(wanted_times([1.0, 7.3], TRACKING))
    assert not wanted_times([1.0], TRACKING).covers(whole)
    assert not wanted_times([1.0], TRACKING).covers(wanted_times([3.0], TRACKING))
    assert (whole | WantedTimes(frozenset([3]))).holds(3)


@pytest.mark.parametrize(("is_whole", "looks"), [(False, 8), (True, 41)])
def test_num_looks__at_most(is_whole: bool, looks: int) -> None:
    tracking = TRACKING.model_copy(update={"whole_clip": is_whole})
    assert num_looks([1.1, 5.1], 10.0, tracking) == looks


def test_expected_looks__never_more_than_the_video_has() -> None:
    assert expected_looks(10, 100.0, TRACKING) == 40
    assert expected_looks(1000, 100.0, TRACKING) == 400
    assert expected_looks(10, 100.0, TRACKING.model_copy(update={"whole_clip": True})) == 400
