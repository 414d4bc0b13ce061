"""The classification of errors, with the messages of yt-dlp and its extractors."""

from datetime import UTC, datetime

import pytest
from yt_dlp.utils import ContentTooShortError, DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError

from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.sites.errors import classify
from data_miner_dagster.sites.hosts import promised_bytes, retry_after_seconds

K = VideoErrorKind


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Sign in to confirm you’re not a bot. Use --cookies-from-browser", K.BOT_CHECK),
        ("Unable to download webpage: HTTP Error 429: Too Many Requests", K.RATE_LIMITED),
        (
            "This content isn't available, try again later. The current session has been rate-limited by YouTube for "
            "up to an hour.",
            K.RATE_LIMITED,
        ),
        ("Private video. Sign in if you've been granted access to this video", K.PRIVATE),
        ("This video is private", K.PRIVATE),
        ("Video unavailable. This video has been removed by the uploader", K.REMOVED),
        ("Video unavailable. This video is no longer available because the account has been terminated.", K.REMOVED),
        ("This video is not available", K.REMOVED),
        ("The uploader has not made this video available in your country", K.GEO_BLOCKED),
        ("This video is not available from your location due to geo restriction", K.GEO_BLOCKED),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", K.AGE_RESTRICTED),
        ("Join this channel to get access to members-only content like this video", K.MEMBERS_ONLY),
        ("This live event will begin in 3 hours.", K.LIVE),
        ("Premieres in 5 days", K.LIVE),
        ("Unsupported URL: https://example.com/", K.UNSUPPORTED),
        ("This video is DRM protected", K.UNSUPPORTED),
        ("Requested format is not available", K.NO_FORMATS),
        ("Only images are available for download", K.NO_FORMATS),
        ("download broke off: 1151 bytes read, 40 more expected", K.CUT_OFF),
        ("Did not get any data blocks", K.CUT_OFF),
        ("download broke off: something", K.TRANSIENT),
        ("HTTP Error 403: Forbidden", K.FORBIDDEN),
        ("HTTP Error 410: Gone", K.REMOVED),
        ("HTTP Error 503: Service Unavailable", K.TRANSIENT),
        ("[Errno 104] Connection reset by peer", K.TRANSIENT),
        ("The read operation timed out", K.TRANSIENT),
        ("unable to write data: [Errno 28] No space left on device", K.DISK_FULL),
    ],
)
def test_classify__messages(message: str, kind: VideoErrorKind) -> None:
    error = DownloadError(f"\x1b[0;31mERROR:\x1b[0m [youtube] abc: {message}", (None, None, None))
    assert classify(error)[0] is kind
    assert "\x1b" not in classify(error)[1]


def test_classify__types_come_before_words() -> None:
    assert classify(GeoRestrictedError("no"))[0] is K.GEO_BLOCKED
    assert classify(UnsupportedError("http://a.test/x"))[0] is K.UNSUPPORTED
    assert classify(ContentTooShortError(5, 10))[0] is K.CUT_OFF
    assert classify(OSError(28, "full"))[0] is K.DISK_FULL
    assert classify(ExtractorError("something new", expected=True))[0] is K.UNSUPPORTED


def test_classify__no_signed_address_in_the_message() -> None:
    error = ExtractorError("Unable to open https://a.test/v.mp4?sig=5EC12E7&expire=1", expected=True)
    assert "5EC12E7" not in classify(error)[1]


def test_retry_after_seconds__numbers_dates_and_nonsense() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after_seconds(None) is None
    assert retry_after_seconds("120") == 120
    assert retry_after_seconds("Thu, 01 Jan 2026 00:01:00 GMT", now) == 60
    assert retry_after_seconds("Thu, 01 Jan 2025 00:01:00 GMT", now) == 0
    assert retry_after_seconds("soon") is None
    assert retry_after_seconds("9" * 5000) == 999_999_999_999
    assert retry_after_seconds("Thu, 01 Jan 99999 00:01:00 GMT") is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Content-Length": "120"}, 120),
        ({"Content-Length": "0"}, 0),
        ({"Content-Length": "20", "Content-Range": "bytes 100-119/120"}, 120),
        ({"Content-Length": "20", "Content-Range": "bytes 100-119/*"}, None),
        ({"Content-Length": "-1"}, None),
        ({"Content-Length": "9" * 5000}, None),
    ],
)
def test_promised_bytes__of_the_whole_file(headers: dict[str, str], expected: int | None) -> None:
    assert promised_bytes(headers) == expected
