import pytest

from data_miner_dagster.stages.forecast import (
    DEFAULT_RATES,
    ListedVideo,
    Rate,
    Rates,
    SiteLimits,
    forecast_of,
    origins_of,
)

RATES = Rates(
    seconds_per_video=Rate(100.0, "here"),
    bytes_per_second=Rate(1000.0, "here"),
    requests_per_video=Rate(4.0, "here"),
    frames_per_second=Rate(0.5, "settings"),
    bytes_per_frame=Rate(200.0, "here"),
    images_per_frame=Rate(0.1),
    boxes_per_image=Rate(2.0),
)


def test_forecast_of__nothing() -> None:
    found = forecast_of([], RATES, {})
    assert (found.num_videos, found.hours, found.days, found.slowest_site, found.num_boxes) == (0, 0.0, 0.0, None, 0)


def test_forecast_of__counts_by_hand() -> None:
    videos = [
        ListedVideo("youtube", duration_seconds=3600.0),
        ListedVideo("youtube"),  # of unknown duration: the average of 100 s is assumed
        ListedVideo("vimeo", duration_seconds=300.0, has_file=True),  # downloaded, but without frames
        ListedVideo("vimeo", duration_seconds=1000.0, has_file=True, has_frames=True),
        ListedVideo(None, size_bytes=500_000),  # a local file, estimated at 500 s from its size
    ]
    found = forecast_of(videos, RATES, {"youtube": SiteLimits(hourly_budget=1), "vimeo": SiteLimits(daily_budget=1)})
    assert (found.num_videos, found.num_to_download, found.num_unknown_durations) == (5, 3, 2)
    assert found.hours == pytest.approx(5500 / 3600)
    assert found.num_requests == 2 * 4
    assert found.days == pytest.approx(2 / 24)
    assert found.slowest_site == "youtube"
    assert found.videos_bytes == 3_600_000 + 100_000 + 500_000
    assert found.frames_bytes == (5500 - 1000) // 2 * 200
    assert (found.num_frames, found.num_images, found.num_boxes) == (2750, 275, 550)
    assert found.downloads_by_site == {"youtube": 2}


@pytest.mark.parametrize(
    ("limits", "days"),
    [
        (SiteLimits(), 0.0),
        (SiteLimits(hourly_budget=300, daily_budget=3000), 2.0),  # 6,000 requests at 3,000 a day
        (SiteLimits(hourly_budget=100, daily_budget=3000), 2.5),  # 6,000 requests at 100 an hour take 60 hours
        (SiteLimits(seconds_between=72.0), 5.0),
    ],
)
def test_site_limits__the_tightest_counts(limits: SiteLimits, days: float) -> None:
    assert limits.days(6000) == pytest.approx(days)


def test_forecast_of__a_site_without_limits_is_not_the_slowest() -> None:
    found = forecast_of([ListedVideo("127.0.0.1")], RATES, {"127.0.0.1": SiteLimits()})
    assert (found.num_requests > 0, found.days, found.slowest_site) == (True, 0.0, None)


def test_origins_of__what_is_a_default_is_said() -> None:
    assert origins_of(RATES)["default"] == ["images_per_frame", "boxes_per_image"]
    assert list(origins_of(DEFAULT_RATES)) == ["default"]
