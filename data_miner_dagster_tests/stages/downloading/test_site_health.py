from datetime import date

import pytest

from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.stages.downloading.site_health import (
    age_days,
    age_text,
    age_warning,
    is_of_file_alone,
    refusal_reason,
)


@pytest.mark.parametrize(
    ("version", "days"),
    [
        ("2026.08.19", 31),
        ("2026.8.19", 31),
        ("2026.08.19.232854", 31),  # a nightly build
        ("2026.09.20", 0),  # dated tomorrow, because of another time zone
        ("2026.13.01", None),
        ("2026.02.30", None),
        ("dev", None),
        ("", None),
    ],
)
def test_age_days__is_of_the_date_in_the_version(version: str, days: int | None) -> None:
    assert age_days(version, date(2026, 9, 19)) == days


def test_age_warning__after_30_days() -> None:
    assert age_warning("2026.08.19", date(2026, 9, 18)) is None
    warning = age_warning("2026.08.19", date(2026, 9, 19))
    assert warning is not None
    assert "yt-dlp 2026.08.19, 31 days old" in warning
    assert "pip install -U yt-dlp" in warning
    assert age_warning("unknown", date(2026, 9, 19)) is None


def test_refusal_reason__names_version_and_age() -> None:
    today = date(2026, 8, 20)
    assert age_text("2026.08.19", today) == "yt-dlp 2026.08.19, 1 day old"
    reason = refusal_reason("youtube", VideoErrorKind.NO_FORMATS, "Only images are available", "2026.08.19", today)
    assert reason == (
        "youtube refuses all requests (no_formats); last error: Only images are available "
        "(yt-dlp 2026.08.19, 1 day old)"
    )
    of_one = "[youtube] dQw4w9WgXcQ: Only images are available"
    assert refusal_reason("youtube", VideoErrorKind.NO_FORMATS, of_one, "2026.08.19", today) == reason
    reason = refusal_reason("youtube", VideoErrorKind.FORBIDDEN, "HTTP Error 403", "2026.08.19", date(2026, 10, 1))
    assert reason.endswith("(yt-dlp 2026.08.19, 43 days old; update it with `pip install -U yt-dlp`)")


@pytest.mark.parametrize(
    ("kind", "is_direct", "is_complete", "expected"),
    [
        (VideoErrorKind.TRUNCATED, True, True, True),
        (VideoErrorKind.EMPTY_FILE, True, True, True),
        (VideoErrorKind.TRUNCATED, False, True, False),  # a site that wants a token may send only a part
        (VideoErrorKind.TRUNCATED, True, False, False),  # it is unknown whether the file is complete
        (VideoErrorKind.CUT_OFF, True, True, False),
        (VideoErrorKind.FORBIDDEN, True, True, False),
    ],
)
def test_is_of_file_alone__what_a_plain_server_sent_whole(
    kind: VideoErrorKind, is_direct: bool, is_complete: bool, expected: bool
) -> None:
    assert is_of_file_alone(kind, is_direct=is_direct, is_complete=is_complete) is expected
