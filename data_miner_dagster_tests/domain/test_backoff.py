import pytest

from data_miner_dagster.domain.backoff import backoff_seconds, outage_seconds


@pytest.mark.parametrize(
    ("num_failures", "seconds"), [(0, 30), (1, 30), (2, 60), (3, 120), (10, 15360), (11, 21600), (10**6, 21600)]
)
def test_backoff_seconds__doubles_from_30_s_to_6_h(num_failures: int, seconds: float) -> None:
    assert backoff_seconds(num_failures) == seconds


@pytest.mark.parametrize(
    ("so_far", "seconds"), [(0, 30), (240, 30), (600, 75), (86400, 10800), (172800, 21600), (10**9, 21600)]
)
def test_outage_seconds__is_an_eighth_of_the_time_so_far(so_far: float, seconds: float) -> None:
    assert outage_seconds(so_far) == seconds
