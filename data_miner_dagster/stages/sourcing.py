"""Which candidates a project turns down before any download. Pure functions over records."""

from collections.abc import Iterable

from data_miner_dagster.config.sourcing import RulesConfig
from data_miner_dagster.domain.reasons import RejectionRule
from data_miner_dagster.domain.records import Rejection, VideoCandidate


def first_of_each(candidates: Iterable[VideoCandidate]) -> tuple[list[VideoCandidate], int]:
    """Return the candidates without repeats of a video key, first ones kept in order, and how many were repeats."""
    kept: dict[str, VideoCandidate] = {}
    num_repeats = 0
    for candidate in candidates:
        if candidate.video_key in kept:
            num_repeats += 1
        else:
            kept[candidate.video_key] = candidate
    return list(kept.values()), num_repeats


def rejection_of(candidate: VideoCandidate, rules: RulesConfig) -> Rejection | None:
    """Return the first rule that turns a candidate down, or None. A value that is unknown passes."""
    duration = candidate.duration_seconds
    if duration is not None:
        if rules.min_duration_seconds is not None and duration < rules.min_duration_seconds:
            return Rejection(RejectionRule.DURATION, f"{duration:.0f} s, below {rules.min_duration_seconds:.0f} s")
        if rules.max_duration_seconds is not None and duration > rules.max_duration_seconds:
            return Rejection(RejectionRule.DURATION, f"{duration:.0f} s, above {rules.max_duration_seconds:.0f} s")
    return None


def apply_rules(
    candidates: Iterable[VideoCandidate], rules: RulesConfig, max_videos: int | None
) -> list[tuple[VideoCandidate, Rejection | None]]:
    """Return each candidate with its rejection or None, in the order given; the cap counts those that pass."""
    decided: list[tuple[VideoCandidate, Rejection | None]] = []
    num_passed = 0
    for candidate in candidates:
        rejection = rejection_of(candidate, rules)
        if rejection is None:
            if max_videos is not None and num_passed >= max_videos:
                rejection = Rejection(RejectionRule.MAX_VIDEOS, f"the project has its {max_videos} videos")
            else:
                num_passed += 1
        decided.append((candidate, rejection))
    return decided
