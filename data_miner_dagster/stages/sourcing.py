"""Decide which candidates a project rejects before any download. Pure functions over records."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from data_miner_dagster.config.sourcing import RulesConfig
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.reasons import RejectionRule
from data_miner_dagster.domain.records import Rejection, RgbImage, VideoCandidate

_HASHTAG: Final = re.compile(r"(?<![\w&])#(\w[\w\-]*)")
_MOST_NAMED: Final = 5
_BLACK: Final = 16
"""A storyboard tile is blank if its brightest pixel value is below this."""


def fold(text: str) -> str:
    """Normalize a string for comparison: NFKC, case-folded, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def fold_hashtag(tag: str) -> str:
    """Normalize a hashtag for comparison: folded, without leading `#` and without spaces."""
    return fold(tag).lstrip("#").replace(" ", "")


@dataclass(frozen=True, slots=True)
class Blocklists:
    """The folded blocklists of one project, from its configuration and its files."""

    hashtags: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hashtags: Iterable[str], channels: Iterable[str]) -> "Blocklists":
        """Return the lists with every entry folded, and without leading `#` or `@`. Empty entries are omitted."""
        return cls(
            frozenset(folded for tag in hashtags if (folded := fold_hashtag(tag))),
            frozenset(folded for channel in channels if (folded := fold(channel).lstrip("@"))),
        )


def reupload_rejection(original: str) -> Rejection:
    """Return the rejection of a video that has the same content as another video of the project."""
    return Rejection(RejectionRule.REUPLOAD, f"the same video as {original}")


def list_entries(text: str) -> list[str]:
    """Return the entries of a list file's content, one per line. `# ` begins a comment, but `#tag` is an entry."""
    entries = []
    for line in text.removeprefix("\ufeff").splitlines():
        entry = re.split(r"(?:^|\s)#(?=\s|$)", line, maxsplit=1)[0].strip()
        if entry:
            entries.append(entry)
    return entries


def first_of_each(candidates: Iterable[VideoCandidate]) -> tuple[list[VideoCandidate], int]:
    """Return the first candidate of each video key, in order, and the number of candidates that repeated a key."""
    kept: dict[str, VideoCandidate] = {}
    num_repeats = 0
    for candidate in candidates:
        if candidate.video_key in kept:
            num_repeats += 1
        else:
            kept[candidate.video_key] = candidate
    return list(kept.values()), num_repeats


def hashtags_of(candidate: VideoCandidate) -> frozenset[str]:
    """Return the hashtags in a candidate's title and description, and its tags, normalized by `fold_hashtag`."""
    written = _HASHTAG.findall(f"{candidate.title or ''} {candidate.description or ''}")
    return frozenset(fold_hashtag(tag) for tag in (*written, *candidate.tags))


def _contains_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(fold(word))}(?!\w)", text) is not None


def _text_of(candidate: VideoCandidate) -> str:
    return fold(" \n ".join((candidate.title or "", candidate.description or "", *candidate.tags)))


def _by_duration(candidate: VideoCandidate, rules: RulesConfig) -> str | None:
    seconds = candidate.duration_seconds
    if seconds is None:
        return None
    if rules.min_duration_seconds is not None and seconds < rules.min_duration_seconds:
        return f"{seconds:.1f} s, below {rules.min_duration_seconds:g} s"
    if rules.max_duration_seconds is not None and seconds > rules.max_duration_seconds:
        return f"{seconds:.1f} s, above {rules.max_duration_seconds:g} s"
    return None


def _by_upload_date(candidate: VideoCandidate, rules: RulesConfig) -> str | None:
    day = candidate.upload_date
    if day is None:
        return None
    if rules.published_after is not None and day < rules.published_after:
        return f"uploaded {day}, before {rules.published_after}"
    if rules.published_before is not None and day >= rules.published_before:
        return f"uploaded {day}, not before {rules.published_before}"
    return None


def _by_views(candidate: VideoCandidate, rules: RulesConfig) -> str | None:
    views = candidate.view_count
    if views is None:
        return None
    if rules.min_views is not None and views < rules.min_views:
        return f"{counted(views, 'view')}, below {rules.min_views}"
    if rules.max_views is not None and views > rules.max_views:
        return f"{counted(views, 'view')}, above {rules.max_views}"
    return None


def _by_language(candidate: VideoCandidate, rules: RulesConfig) -> str | None:
    if not rules.languages or candidate.language is None:
        return None
    spoken = fold(candidate.language).replace("_", "-")
    wanted = [fold(language).replace("_", "-") for language in rules.languages]
    if any(spoken == language or spoken.startswith(f"{language}-") for language in wanted):
        return None
    return f"language {candidate.language}"


def _by_licence(candidate: VideoCandidate, rules: RulesConfig, is_complete: bool) -> str | None:
    if not rules.licences:
        return None
    if candidate.licence is None:
        # A page that names no licence grants none. This is only known once the page has been read.
        return "the site names no licence" if is_complete else None
    licence = fold(candidate.licence)
    return None if any(fold(wanted) in licence for wanted in rules.licences) else f"licence {candidate.licence}"


def _by_words(candidate: VideoCandidate, rules: RulesConfig, is_complete: bool) -> str | None:
    text = _text_of(candidate)
    for word in rules.blocked_words:
        if _contains_word(text, word):
            return f"contains {word!r}"
    # If the listing came without a description, the page may still contain the word.
    can_judge = bool(text) and (is_complete or candidate.description is not None)
    if rules.required_words and can_judge and not any(_contains_word(text, word) for word in rules.required_words):
        num_more = len(rules.required_words) - _MOST_NAMED
        more = f" and {counted(num_more, 'more word')}" if num_more > 0 else ""
        return f"contains none of {', '.join(map(repr, rules.required_words[:_MOST_NAMED]))}{more}"
    return None


def _by_channel(candidate: VideoCandidate, blocklists: Blocklists) -> str | None:
    names = {fold(name).lstrip("@") for name in (candidate.channel, candidate.channel_id) if name}
    return f"channel {candidate.channel or candidate.channel_id}" if names & blocklists.channels else None


def rejection_of(
    candidate: VideoCandidate, rules: RulesConfig, blocklists: Blocklists | None = None, *, is_complete: bool = False
) -> Rejection | None:
    """Return the rejection by the first rule of `RejectionRule` that a candidate violates, or None if it violates none.

    Args:
        candidate: the candidate.
        rules: the rules of the project.
        blocklists: the blocklists of the project. If None, no hashtag or channel is blocked.
        is_complete: whether the video's page has been read. If so, a missing value means that the site does not state
            it.
    """
    blocklists = blocklists or Blocklists()
    hits = sorted(hashtags_of(candidate) & blocklists.hashtags)
    height = candidate.height
    checks = (
        (RejectionRule.DURATION, _by_duration(candidate, rules)),
        (RejectionRule.UPLOAD_DATE, _by_upload_date(candidate, rules)),
        (RejectionRule.VIEWS, _by_views(candidate, rules)),
        (RejectionRule.LIVE, "live or announced" if rules.reject_live and candidate.is_live else None),
        (
            RejectionRule.RESOLUTION,
            f"height {height}, below {rules.min_height}"
            if rules.min_height is not None and height is not None and height < rules.min_height
            else None,
        ),
        (RejectionRule.LANGUAGE, _by_language(candidate, rules)),
        (RejectionRule.LICENCE, _by_licence(candidate, rules, is_complete)),
        (RejectionRule.WORDS, _by_words(candidate, rules, is_complete)),
        (RejectionRule.BLOCKED_HASHTAG, f"#{hits[0]}" if hits else None),
        (RejectionRule.BLOCKED_CHANNEL, _by_channel(candidate, blocklists)),
    )
    return next((Rejection(rule, message) for rule, message in checks if message is not None), None)


def apply_cap(
    decided: Iterable[tuple[VideoCandidate, Rejection | None]], max_videos: int | None
) -> list[tuple[VideoCandidate, Rejection | None]]:
    """Return the decisions, with passing candidates beyond the cap rejected. Earlier candidates take precedence."""
    capped: list[tuple[VideoCandidate, Rejection | None]] = []
    num_passed = 0
    for candidate, rejection in decided:
        if rejection is None:
            num_passed += 1
            if max_videos is not None and num_passed > max_videos:
                rejection = Rejection(RejectionRule.MAX_VIDEOS, "the project has reached its maximum number of videos")
        capped.append((candidate, rejection))
    return capped


def prescreening_rejection(similarity: float | None, prompt: str, threshold: float) -> Rejection | None:
    """Return the rejection of a candidate whose best picture has a similarity below the threshold.

    The result is None if the similarity reaches the threshold, or if there is no similarity.
    """
    if similarity is None or similarity >= threshold:
        return None
    return Rejection(
        RejectionRule.PRESCREENING,
        f"the candidate's best picture has a similarity of {similarity:.3f} to {prompt!r}, below {threshold:.3f}",
    )


def spread_over(total: int, num: int) -> list[int]:
    """Return `num` evenly spaced positions out of `total`, counting from 0, or all if there are at most `num`."""
    return [position * total // num for position in range(num)] if total > num else list(range(total))


def split_storyboard(image: RgbImage, rows: int, columns: int) -> list[RgbImage]:
    """Return the tiles of a storyboard, row by row, without trailing black tiles.

    A storyboard with a single tile is returned even if it is black. The list is empty if several tiles are all black.
    """
    if rows * columns == 1:
        return [image]
    height, width = image.shape[0] // rows, image.shape[1] // columns
    tiles = [
        image[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row in range(rows)
        for column in range(columns)
    ]
    while tiles and (not tiles[-1].size or int(tiles[-1].max()) < _BLACK):
        tiles.pop()
    return tiles
