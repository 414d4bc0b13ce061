"""Stored reasons: why a video, a frame or a candidate is where it is. Values are stable: they live in databases."""

from enum import StrEnum


class VideoErrorKind(StrEnum):
    """Why a video could not be downloaded or decoded."""

    # may pass
    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    BOT_CHECK = "bot_check"
    DISK_FULL = "disk_full"
    CUT_OFF = "cut_off"
    SITE_REFUSAL = "site_refusal"
    # of the site
    PRIVATE = "private"
    REMOVED = "removed"
    GEO_BLOCKED = "geo_blocked"
    AGE_RESTRICTED = "age_restricted"
    MEMBERS_ONLY = "members_only"
    LIVE = "live"
    UNSUPPORTED = "unsupported"
    NO_FORMATS = "no_formats"
    FORBIDDEN = "forbidden"
    # of ours
    TOO_LARGE = "too_large"
    POLICY = "policy"
    # of the file
    MISSING_FILE = "missing_file"
    EMPTY_FILE = "empty_file"
    NOT_A_VIDEO = "not_a_video"
    NO_VIDEO_STREAM = "no_video_stream"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    LIMIT_EXCEEDED = "limit_exceeded"
    # of the worker
    CRASHED = "crashed"
    # of our code: an exception that nobody expected
    INTERNAL_ERROR = "internal_error"

    @property
    def is_transient(self) -> bool:
        """True if the same request may succeed later without anyone changing anything."""
        return self in _TRANSIENT_KINDS

    @property
    def is_of_site(self) -> bool:
        """True if the site withholds the video: UNAVAILABLE rather than FAILED."""
        return self in _SITE_KINDS


_TRANSIENT_KINDS = frozenset(
    {
        VideoErrorKind.TRANSIENT,
        VideoErrorKind.RATE_LIMITED,
        VideoErrorKind.BOT_CHECK,
        VideoErrorKind.DISK_FULL,
        VideoErrorKind.CUT_OFF,
        VideoErrorKind.SITE_REFUSAL,
        VideoErrorKind.CRASHED,
    }
)
_SITE_KINDS = frozenset(
    {
        VideoErrorKind.PRIVATE,
        VideoErrorKind.REMOVED,
        VideoErrorKind.GEO_BLOCKED,
        VideoErrorKind.AGE_RESTRICTED,
        VideoErrorKind.MEMBERS_ONLY,
        VideoErrorKind.LIVE,
        VideoErrorKind.FORBIDDEN,
    }
)


class RejectionRule(StrEnum):
    """The rule of a project that turned a candidate down before any download, or took a member out."""

    DURATION = "duration"
    UPLOAD_DATE = "upload_date"
    VIEWS = "views"
    LIVE = "live"
    RESOLUTION = "resolution"
    LANGUAGE = "language"
    LICENCE = "licence"
    WORDS = "words"
    BLOCKED_HASHTAG = "blocked_hashtag"
    BLOCKED_CHANNEL = "blocked_channel"
    SECRET_ADDRESS = "secret_address"  # listed with a signature or token, which is not kept  # noqa: S105  # a word
    REFUSED_ADDRESS = "refused_address"  # listed with an address that is none of the web's, or malformed
    PRESCREENING = "prescreening"
    BY_HAND = "by_hand"  # a person took it out of this project; no listing takes it back
    INTERNAL_ERROR = "internal_error"  # of our code, while its entry of a listing was read
    MAX_VIDEOS = "max_videos"


class QualityFlag(StrEnum):
    """What is wrong with a sampled frame as a picture. Marked at extraction, acted upon at filtering."""

    BLACK = "black"
    FLAT = "flat"
    BLURRED = "blurred"
    SLIDE = "slide"  # lines of text on a plain ground
    TEXT = "text"


class DropReason(StrEnum):
    """Why a frame was not kept by filtering."""

    BY_HAND = "by_hand"  # a person said so
    BLACK = "black"
    FLAT = "flat"
    BLURRED = "blurred"
    SLIDE = "slide"
    TEXT = "text"
    UNREADABLE = "unreadable"  # its image could not be decoded, so it was never compared with anything
    BELOW_POSITIVE = "below_positive"
    BEATEN_BY_NEGATIVE = "beaten_by_negative"
    JUNK = "junk"
    TOO_CLOSE_IN_TIME = "too_close_in_time"
    OVER_VIDEO_CAP = "over_video_cap"


class DuplicateTier(StrEnum):
    """Which comparison found a duplicate."""

    EXACT = "exact"
    PERCEPTUAL_HASH = "perceptual_hash"
    WITHIN_VIDEO = "within_video"
    ACROSS_VIDEOS = "across_videos"
    OTHER_PROJECT = "other_project"
    EARLIER_RELEASE = "earlier_release"
