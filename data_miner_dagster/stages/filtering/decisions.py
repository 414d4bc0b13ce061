"""Decide which frames to keep, from stored similarities. Pure and vectorised, no model.

A frame is dropped for the first reason that applies, in the order of `DropReason`:

0. a person dropped it;
1. extraction marked it with one of `drop_quality_flags`, or it could not be read;
2. no positive prompt reaches its threshold;
3. the similarity to a negative prompt reaches the prompt's threshold, and exceeds the positive similarity minus the
   prompt's margin;
4. the similarity to a junk prompt reaches the prompt's threshold (and the positive similarity plus the prompt's margin,
   if it has one);
5. a better frame of the same video, to which none of the reasons 0 to 5 applies, is closer than `min_gap_seconds`;
6. `max_frames_per_video` other frames of the video are kept.

A frame that a person kept is kept whatever the rules say, unless it could not be read. The verdict does not make it
displace other frames: gap and cap apply only to frames that the preceding rules keep. A frame that a person dropped
makes room for others.

If positive prompts have individual thresholds, the prompt with the most *headroom* (similarity minus threshold)
counts, so that prompts with different ranges can be compared. "Better" means more headroom, then earlier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.base import Margin, Threshold
from data_miner_dagster.config.filtering import FilteringConfig, PromptConfig
from data_miner_dagster.domain.reasons import DropReason
from data_miner_dagster.domain.records import Float32Array, SimilarityCalibration
from data_miner_dagster.stages.thresholds import value_for_encoder

REASONS: Final = tuple(DropReason)
"""The reasons to drop a frame. The code of a reason in `Decisions.reasons` is its position here."""
KEPT: Final = -1
"""The code of a frame without a reason to drop it."""
NO_PROMPT: Final = -1
NO_VERDICT: Final = 0
KEEP_BY_HAND: Final = 1
DROP_BY_HAND: Final = 2
"""Codes of a person's verdict on a frame."""

_CODE: Final[Mapping[DropReason, int]] = {reason: code for code, reason in enumerate(REASONS)}

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PromptRule:
    """One prompt with its threshold and margin for one encoder."""

    text: str
    threshold: float | None  # None if there is no minimum
    margin: float | None  # None means 0 for a negative prompt; a junk prompt is then compared only with its threshold


@dataclass(frozen=True, slots=True)
class FilteringRules:
    """A filtering configuration with every threshold resolved for one encoder."""

    positive: tuple[PromptRule, ...]
    negative: tuple[PromptRule, ...]
    junk: tuple[PromptRule, ...]
    dropped_flags: tuple[DropReason, ...]
    min_gap_seconds: float
    max_frames_per_video: int | None
    cap_by: Literal["similarity", "spread"]


def resolve_rules(config: FilteringConfig, encoder_name: str, calibration: SimilarityCalibration) -> FilteringRules:
    """Return the rules with the values for one encoder.

    Raises:
        ConfigError: a threshold or margin is given per encoder, but not for this encoder.
    """

    def value(field: str, given: Threshold | Margin | None, default: float | None) -> float | None:
        remedy = (
            "; once the project is filtered, `data-miner calibrate PROJECT` can find a better value"
            if field == "positive_threshold"
            else ""
        )
        number = value_for_encoder(f"filtering.{field}", given, encoder_name, remedy=remedy)
        return default if number is None else number

    def rules(
        set_name: str, prompts: Sequence[PromptConfig], threshold: float | None, margin: float | None
    ) -> tuple[PromptRule, ...]:
        return tuple(
            PromptRule(
                prompt.text,
                value(f"{set_name}[{position}].threshold", prompt.threshold, threshold),
                value(f"{set_name}[{position}].margin", prompt.margin, margin),
            )
            for position, prompt in enumerate(prompts)
        )

    positive_threshold = value("positive_threshold", config.positive_threshold, calibration.positive_threshold)
    return FilteringRules(
        positive=rules("positive", config.positive, positive_threshold, None),
        negative=rules(
            "negative",
            config.negative,
            value("negative_threshold", config.negative_threshold, None),
            value("negative_margin", config.negative_margin, None),
        ),
        junk=rules(
            "junk",
            config.junk,
            value("junk_threshold", config.junk_threshold, positive_threshold),
            value("junk_margin", config.junk_margin, None),
        ),
        dropped_flags=tuple(sorted((DropReason(flag) for flag in config.drop_quality_flags), key=REASONS.index)),
        min_gap_seconds=config.min_gap_seconds,
        max_frames_per_video=config.max_frames_per_video,
        cap_by=config.cap_by,
    )


def unnamed_values(config: FilteringConfig) -> dict[str, float]:
    """Return the thresholds and margins that are set without naming an encoder, by field. Margins of 0 are omitted."""
    fields: dict[str, Threshold | Margin | None] = {
        name: getattr(config, name)
        for name in ("positive_threshold", "negative_threshold", "negative_margin", "junk_threshold", "junk_margin")
    }
    for set_name in ("positive", "negative", "junk"):
        for prompt in getattr(config, set_name):
            fields[f"{set_name} {prompt.text!r} threshold"] = prompt.threshold
            fields[f"{set_name} {prompt.text!r} margin"] = prompt.margin
    unnamed = {name: float(given) for name, given in fields.items() if isinstance(given, int | float)}
    return {name: number for name, number in unnamed.items() if number != 0 or not name.endswith("margin")}


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions on N frames. Prompt codes are positions in the rules' prompt set, or NO_PROMPT.

    `headroom` is the positive similarity minus its prompt's threshold. Headroom and similarities are NaN for a frame
    that could not be read.
    """

    reasons: npt.NDArray[np.int8]
    headroom: Float64Array
    positive_prompts: npt.NDArray[np.int32]
    positive_similarities: Float32Array
    negative_prompts: npt.NDArray[np.int32]
    negative_similarities: Float32Array
    junk_prompts: npt.NDArray[np.int32]
    junk_similarities: Float32Array

    @property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """(N,) True where the frame is kept."""
        return np.equal(self.reasons, KEPT)


@dataclass(slots=True)
class _Strongest:
    """The strongest prompt of one set for each frame, found in one pass over the columns."""

    strengths: Float64Array
    prompts: npt.NDArray[np.int32]
    similarities: Float32Array

    @classmethod
    def nothing(cls, num_frames: int) -> "_Strongest":
        return cls(
            np.full(num_frames, -np.inf),
            np.full(num_frames, NO_PROMPT, np.int32),
            np.full(num_frames, np.nan, np.float32),
        )

    def challenge(self, prompt: int, strengths: Float64Array, similarities: Float64Array) -> None:
        """Make `prompt` the strongest where it is strictly stronger. The first prompt in the list wins a tie."""
        wins = strengths > self.strengths  # false for NaN
        np.copyto(self.strengths, strengths, where=wins)
        np.copyto(self.similarities, similarities, where=wins, casting="same_kind")
        self.prompts[wins] = prompt


def decide(
    similarity_by_prompt: Mapping[str, npt.NDArray[np.floating]],
    rules: FilteringRules,
    *,
    pts_seconds: Float64Array,
    video_offsets: npt.NDArray[np.int64],
    quality_reasons: npt.NDArray[np.int8],
    verdicts: npt.NDArray[np.int8] | None = None,
) -> Decisions:
    """Decide which frames of complete videos to keep.

    Args:
        similarity_by_prompt: (N,) similarities for every prompt of the rules. NaN where a frame could not be read.
        rules: the rules, resolved for the encoder that computed the similarities.
        pts_seconds: (N,) frame times, ascending within a video.
        video_offsets: (V+1,) ascending. The frames of video v are the rows video_offsets[v] to video_offsets[v+1],
            without the last.
        quality_reasons: (N,) code in REASONS of the flag set at extraction, or KEPT for no flag.
        verdicts: (N,) a person's verdict on each frame, or NO_VERDICT. None if there are no verdicts at all.
    """
    columns = {text: similarity_by_prompt[text].astype(np.float64) for text in _texts(rules)}
    positive = _lead_of_positives(rules, columns, len(pts_seconds))
    positive_similarities = positive.similarities.astype(np.float64)
    rival_strengths, shown_negative = _lead_of_negatives(rules, columns, len(pts_seconds))
    junk, is_junk = _lead_of_junk(rules, columns, positive_similarities)
    headroom = np.where(positive.prompts == NO_PROMPT, np.nan, positive.strengths)

    said = verdicts if verdicts is not None else np.full(len(pts_seconds), NO_VERDICT, np.int8)
    reasons = np.full(len(pts_seconds), KEPT, np.int8)

    def drop(where: npt.NDArray[np.bool_], reason: DropReason) -> None:
        reasons[where & (reasons == KEPT)] = _CODE[reason]

    drop(said == DROP_BY_HAND, DropReason.BY_HAND)
    for flag in rules.dropped_flags:
        drop(quality_reasons == _CODE[flag], flag)
    drop(positive.prompts == NO_PROMPT, DropReason.UNREADABLE)
    drop(positive.strengths < 0, DropReason.BELOW_POSITIVE)
    drop(positive_similarities < rival_strengths, DropReason.BEATEN_BY_NEGATIVE)
    drop(is_junk, DropReason.JUNK)
    if rules.min_gap_seconds > 0:
        too_close = _too_close(reasons == KEPT, headroom, pts_seconds, video_offsets, rules.min_gap_seconds)
        drop(too_close, DropReason.TOO_CLOSE_IN_TIME)
    if rules.max_frames_per_video is not None:
        over_cap = _over_cap(reasons == KEPT, headroom, video_offsets, rules.max_frames_per_video, rules.cap_by)
        drop(over_cap, DropReason.OVER_VIDEO_CAP)
    reasons[(said == KEEP_BY_HAND) & (positive.prompts != NO_PROMPT)] = KEPT

    return Decisions(
        reasons=reasons,
        headroom=headroom,
        positive_prompts=positive.prompts,
        positive_similarities=positive.similarities,
        negative_prompts=shown_negative.prompts,
        negative_similarities=shown_negative.similarities,
        junk_prompts=junk.prompts,
        junk_similarities=junk.similarities,
    )


def _lead_of_positives(rules: FilteringRules, columns: Mapping[str, Float64Array], num_frames: int) -> _Strongest:
    lead = _Strongest.nothing(num_frames)
    for position, rule in enumerate(rules.positive):
        similarities = columns[rule.text]
        lead.challenge(position, similarities - (rule.threshold or 0.0), similarities)
    return lead


def _lead_of_negatives(
    rules: FilteringRules, columns: Mapping[str, Float64Array], num_frames: int
) -> tuple[Float64Array, _Strongest]:
    """Return the strength of each frame's strongest negative prompt that reaches its threshold, and the prompt to show.

    If no prompt reaches its threshold, the strongest one is shown, but it does not drop the frame.
    """
    lead, lead_of_all = _Strongest.nothing(num_frames), _Strongest.nothing(num_frames)
    for position, rule in enumerate(rules.negative):
        similarities = columns[rule.text]
        strengths = similarities + (rule.margin or 0.0)
        lead_of_all.challenge(position, strengths, similarities)
        if rule.threshold is not None:
            strengths = np.where(similarities >= rule.threshold, strengths, -np.inf)
        lead.challenge(position, strengths, similarities)
    has_rival = lead.prompts != NO_PROMPT
    np.copyto(lead_of_all.prompts, lead.prompts, where=has_rival)
    np.copyto(lead_of_all.similarities, lead.similarities, where=has_rival)
    return lead.strengths, lead_of_all


def _lead_of_junk(
    rules: FilteringRules, columns: Mapping[str, Float64Array], positive_similarities: Float64Array
) -> tuple[_Strongest, npt.NDArray[np.bool_]]:
    """Return the strongest junk prompt of each frame, and a mask of the frames that match any junk prompt."""
    lead = _Strongest.nothing(len(positive_similarities))
    is_junk = np.zeros(len(positive_similarities), bool)
    for position, rule in enumerate(rules.junk):
        similarities = columns[rule.text]
        strengths = similarities - (rule.threshold or 0.0)
        lead.challenge(position, strengths, similarities)
        hits = strengths >= 0
        if rule.margin is not None:
            hits &= similarities >= positive_similarities + rule.margin
        is_junk |= hits
    return lead, is_junk


def _texts(rules: FilteringRules) -> tuple[str, ...]:
    return tuple(rule.text for rule in (*rules.positive, *rules.negative, *rules.junk))


def _best_first(candidates: npt.NDArray[np.int64], headroom: Float64Array) -> npt.NDArray[np.int64]:
    """Return the candidates by descending headroom, then ascending position."""
    return candidates[np.argsort(-headroom[candidates], kind="stable")]


def _too_close(
    is_candidate: npt.NDArray[np.bool_],
    headroom: Float64Array,
    pts_seconds: Float64Array,
    video_offsets: npt.NDArray[np.int64],
    min_gap_seconds: float,
) -> npt.NDArray[np.bool_]:
    """Return an (N,) mask of the candidates that are closer than the gap to a better, kept candidate of their video."""
    dropped = np.zeros(len(pts_seconds), bool)
    for start, stop in zip(video_offsets[:-1].tolist(), video_offsets[1:].tolist(), strict=True):
        candidates = start + np.flatnonzero(is_candidate[start:stop])
        if len(candidates) < 2:
            continue
        times = pts_seconds[candidates]
        # Half-open slices of neighbours closer than the gap, so that frames exactly one gap apart are both kept.
        first = np.searchsorted(times, times - min_gap_seconds, side="right").tolist()
        last = np.searchsorted(times, times + min_gap_seconds, side="left").tolist()
        is_near = bytearray(len(candidates))
        dropped[candidates] = True
        for position in np.argsort(-headroom[candidates], kind="stable").tolist():
            if not is_near[position]:
                low, high = first[position], last[position]
                is_near[low:high] = b"\1" * (high - low)
                dropped[candidates[position]] = False
    return dropped


def _over_cap(
    is_candidate: npt.NDArray[np.bool_],
    headroom: Float64Array,
    video_offsets: npt.NDArray[np.int64],
    max_frames: int,
    cap_by: Literal["similarity", "spread"],
) -> npt.NDArray[np.bool_]:
    """Return an (N,) mask of the candidates that exceed the cap of their video."""
    dropped = np.zeros(len(headroom), bool)
    for start, stop in zip(video_offsets[:-1].tolist(), video_offsets[1:].tolist(), strict=True):
        candidates = start + np.flatnonzero(is_candidate[start:stop])
        if len(candidates) <= max_frames:
            continue
        if cap_by == "similarity":
            chosen = _best_first(candidates, headroom)[:max_frames]
        else:
            parts = np.array_split(candidates, max_frames)
            chosen = np.array([part[np.argmax(headroom[part])] for part in parts])
        dropped[candidates] = True
        dropped[chosen] = False
    return dropped
