"""The words with which the terminal, pictures, UI and reports show stored reasons and counts to people.

Belongs here: names for people. Does not belong here: the stored values themselves (reasons.py, statuses.py), which
never change, and text that is written into releases.
"""

from collections.abc import Mapping
from typing import Final

from data_miner_dagster.domain.reasons import DropReason, DuplicateTier, QualityFlag, RejectionRule, VideoErrorKind
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage, ProjectVideoStatus

_DROPS: Final[Mapping[DropReason, str]] = {
    DropReason.BY_HAND: "removed by a person",
    DropReason.BLACK: "black",
    DropReason.FLAT: "without detail",
    DropReason.BLURRED: "blurred",
    DropReason.SLIDE: "slide of text",
    DropReason.TEXT: "mostly text",
    DropReason.UNREADABLE: "unreadable",
    DropReason.BELOW_POSITIVE: "not similar enough to the prompts",
    DropReason.BEATEN_BY_NEGATIVE: "more like a negative prompt",
    DropReason.JUNK: "junk",
    DropReason.TOO_CLOSE_IN_TIME: "too close in time to another frame",
    DropReason.OVER_VIDEO_CAP: "over the limit per video",
}
_DUPLICATES: Final[Mapping[DuplicateTier, str]] = {
    DuplicateTier.EXACT: "exact copy",
    DuplicateTier.PERCEPTUAL_HASH: "same picture, encoded again",
    DuplicateTier.WITHIN_VIDEO: "near-duplicate",
    DuplicateTier.ACROSS_VIDEOS: "near-duplicate in another video",
    DuplicateTier.OTHER_PROJECT: "near-duplicate in another project",
    DuplicateTier.EARLIER_RELEASE: "near-duplicate in an earlier release",
}
_REJECTIONS: Final[Mapping[RejectionRule, str]] = {
    RejectionRule.DURATION: "too short or too long",
    RejectionRule.UPLOAD_DATE: "uploaded outside the accepted dates",
    RejectionRule.VIEWS: "too few or too many views",
    RejectionRule.LIVE: "live stream",
    RejectionRule.RESOLUTION: "too small",
    RejectionRule.LANGUAGE: "in another language",
    RejectionRule.LICENCE: "under another licence",
    RejectionRule.WORDS: "by the rules for words",
    RejectionRule.BLOCKED_HASHTAG: "with a blocked hashtag",
    RejectionRule.BLOCKED_CHANNEL: "from a blocked channel",
    RejectionRule.SECRET_ADDRESS: "listed with a secret in the address",
    RejectionRule.REFUSED_ADDRESS: "listed with an address that cannot be used",
    RejectionRule.PRESCREENING: "thumbnail not similar to the prompts",
    RejectionRule.REUPLOAD: "same video as another",
    RejectionRule.BY_HAND: "removed by a person",
    RejectionRule.INTERNAL_ERROR: "fault of this program",
    RejectionRule.MAX_VIDEOS: "above the limit of videos",
}
_ERRORS: Final[Mapping[VideoErrorKind, str]] = {
    VideoErrorKind.TRANSIENT: "temporary failure",
    VideoErrorKind.RATE_LIMITED: "too many requests",
    VideoErrorKind.BOT_CHECK: "the site asked for a sign-in",
    VideoErrorKind.DISK_FULL: "disk full",
    VideoErrorKind.CUT_OFF: "cut off",
    VideoErrorKind.SITE_REFUSAL: "refused by the site",
    VideoErrorKind.PRIVATE: "private",
    VideoErrorKind.REMOVED: "removed",
    VideoErrorKind.GEO_BLOCKED: "not available in this country",
    VideoErrorKind.AGE_RESTRICTED: "age-restricted",
    VideoErrorKind.MEMBERS_ONLY: "for members only",
    VideoErrorKind.LIVE: "live stream",
    VideoErrorKind.UNSUPPORTED: "site not supported",
    VideoErrorKind.NO_FORMATS: "no format to download",
    VideoErrorKind.FORBIDDEN: "forbidden by the site",
    VideoErrorKind.TOO_LARGE: "too large",
    VideoErrorKind.POLICY: "excluded by the settings",
    VideoErrorKind.MISSING_FILE: "file missing",
    VideoErrorKind.EMPTY_FILE: "file empty",
    VideoErrorKind.NOT_A_VIDEO: "not a video",
    VideoErrorKind.NO_VIDEO_STREAM: "no video stream",
    VideoErrorKind.TRUNCATED: "cut short",
    VideoErrorKind.UNDECODABLE: "cannot be decoded",
    VideoErrorKind.LIMIT_EXCEEDED: "exceeds the limits for files",
    VideoErrorKind.CRASHED: "crashed a process",
    VideoErrorKind.INTERNAL_ERROR: "fault of this program",
}
_FLAGS: Final[Mapping[QualityFlag, str]] = {flag: _DROPS[DropReason(flag.value)] for flag in QualityFlag}
_FIGURES: Final[Mapping[str, str]] = {
    "frames looked at": "frames searched",
    "num_unmet": "sampling times without a frame",
    "frames_with_boxes": "frames with boxes",
    "left_out_videos": "videos left out",
    "unreadable_frames": "unreadable frames",
    "members": "videos",
    "of_removed_sources": "videos of removed sources",
    "videos_scored": "videos compared with the prompts",
    "size_bytes": "size",
    "duration_seconds": "duration",
    "verifier:confirmed": "confirmed by the verifier",
    "verifier:rejected": "rejected by the verifier",
    "verifier:cannot_tell": "undecided by the verifier",
    "verifier:over_budget": "not verified because of the budget",
    "verifier:waiting": "waiting for the verifier",
}
_MEMBERS: Final[Mapping[ProjectVideoStatus, str]] = {
    ProjectVideoStatus.PENDING: "to be filtered",
    ProjectVideoStatus.FILTERING: "being filtered",
    ProjectVideoStatus.FILTERED: "filtered",
    ProjectVideoStatus.FILTERED_EMPTY: "filtered, with no frame kept",
    ProjectVideoStatus.FAILED: "failed",
    ProjectVideoStatus.REJECTED: "rejected",
}
_PHRASES: Final[Mapping[str, str]] = {
    **{kind.value: text for kind, text in _ERRORS.items()},
    **{rule.value: text for rule, text in _REJECTIONS.items()},
    **{tier.value: text for tier, text in _DUPLICATES.items()},
    **{f"duplicate {tier.value}": text for tier, text in _DUPLICATES.items()},
    **{flag.value: text for flag, text in _FLAGS.items()},
    **{reason.value: text for reason, text in _DROPS.items()},
    **_FIGURES,
}
_BETWEEN: Final = ": "


def phrase_of(stored: str) -> str:
    """Return the words for a stored reason or for a figure's name.

    In `failed: undecodable` and `failed_undecodable`, each part is looked up. `boxes:car`, the number of boxes of the
    class car, becomes `boxes of car`. Unknown names are shown without `num_`, and with spaces instead of underscores.
    """
    if stored in _PHRASES:
        return _PHRASES[stored]
    if (kind := stored.removeprefix("failed_")) != stored and kind in _PHRASES:
        return f"failed{_BETWEEN}{_PHRASES[kind]}"
    if _BETWEEN in stored:
        return _BETWEEN.join(phrase_of(part) for part in stored.split(_BETWEEN))
    if ":" in stored:
        return stored.replace(":", " of ", 1)
    return stored.removeprefix("num_").replace("_", " ")


_NOUNS: Final[Mapping[str, str]] = {
    "near-duplicate": "near-duplicates",
    "exact copy": "exact copies",
    "slide of": "slides of",
    "live stream": "live streams",
    "fault of": "faults of",
    "temporary failure": "temporary failures",
}
_SINGULARS: Final[Mapping[str, str]] = {
    "videos": "video",
    "frames": "frame",
    "images": "image",
    "boxes": "box",
    "representatives": "representative",
}


def counted_phrase(number: int, stored: str) -> str:
    """Return a number with the words for a stored reason or figure, such as `11 near-duplicates` or `3 junk`."""
    words = phrase_of(stored)
    for singular, plural in _NOUNS.items():
        if number != 1 and words.startswith(singular):
            words = words.replace(singular, plural, 1)
    if number == 1:
        words = " ".join(_SINGULARS.get(word, word) for word in words.split(" "))
    return f"{number:,} {words}"


def phrase_of_member(status: ProjectVideoStatus) -> str:
    """Return the words for a video's status in a project, such as `to be filtered` or `rejected`."""
    return _MEMBERS[status]


def phrase_of_stage(stage: ProjectStage) -> str:
    """Return the words for a project's stage, such as `waiting for detection`, `at detection` or `complete`."""
    for working, place in PROJECT_WAY.items():
        if stage is working:
            return f"at {working.word}"
        if stage is place.waiting:
            return "finding and preparing videos" if stage is ProjectStage.SOURCING else f"waiting for {working.word}"
    return stage.word


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as `1 video` or `2,000 videos`."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
