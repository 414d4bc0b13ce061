"""Reasons for the state of a video, frame or candidate. Values never change, because databases store them."""

from enum import StrEnum


class VideoErrorKind(StrEnum):
    """The reason why a video could not be downloaded or decoded."""

    # may be temporary
    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    BOT_CHECK = "bot_check"
    DISK_FULL = "disk_full"
    CUT_OFF = "cut_off"
    SITE_REFUSAL = "site_refusal"
    # caused by the site
    PRIVATE = "private"
    REMOVED = "removed"
    GEO_BLOCKED = "geo_blocked"
    AGE_RESTRICTED = "age_restricted"
    MEMBERS_ONLY = "members_only"
    LIVE = "live"
    UNSUPPORTED = "unsupported"
    NO_FORMATS = "no_formats"
    FORBIDDEN = "forbidden"
    # caused by our settings
    TOO_LARGE = "too_large"
    POLICY = "policy"
    # caused by the file
    MISSING_FILE = "missing_file"
    EMPTY_FILE = "empty_file"
    NOT_A_VIDEO = "not_a_video"
    NO_VIDEO_STREAM = "no_video_stream"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    LIMIT_EXCEEDED = "limit_exceeded"
    # caused by the worker
    CRASHED = "crashed"
    # caused by our code: an unexpected exception
    INTERNAL_ERROR = "internal_error"

    @property
    def is_transient(self) -> bool:
        """True if the same request may succeed later without any change."""
        return self in _TRANSIENT_KINDS

    @property
    def is_of_site(self) -> bool:
        """True if the site withholds the video, which is then UNAVAILABLE rather than FAILED."""
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
    """The reason why a project rejected a candidate or a member. Most reasons are rules of the project."""

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
    REFUSED_ADDRESS = "refused_address"  # listed with an address that is malformed or not a web address
    PRESCREENING = "prescreening"
    REUPLOAD = "reupload"  # the same video as another one of the project
    BY_HAND = "by_hand"  # a person removed it from this project; no listing adds it back
    INTERNAL_ERROR = "internal_error"  # an unexpected exception of this program while it read the listing entry
    MAX_VIDEOS = "max_videos"


class QualityFlag(StrEnum):
    """A visual defect of a sampled frame. Extraction stores it, and filtering may drop the frame because of it."""

    BLACK = "black"
    FLAT = "flat"
    BLURRED = "blurred"
    SLIDE = "slide"  # lines of text on a plain background
    TEXT = "text"


class DropReason(StrEnum):
    """The reason why filtering dropped a frame."""

    BY_HAND = "by_hand"  # decided by a person
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
    """The comparison that found a duplicate."""

    EXACT = "exact"
    PERCEPTUAL_HASH = "perceptual_hash"
    WITHIN_VIDEO = "within_video"
    ACROSS_VIDEOS = "across_videos"
    OTHER_PROJECT = "other_project"
    EARLIER_RELEASE = "earlier_release"
