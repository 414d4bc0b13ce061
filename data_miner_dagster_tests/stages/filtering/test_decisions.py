"""Filter decisions, compared with cases worked out by hand and with a plain-Python oracle."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.reasons import DropReason, QualityFlag
from data_miner_dagster.domain.records import SimilarityCalibration
from data_miner_dagster.stages.filtering.decisions import (
    DROP_BY_HAND,
    KEEP_BY_HAND,
    KEPT,
    NO_VERDICT,
    REASONS,
    Decisions,
    FilteringRules,
    decide,
    resolve_rules,
    unnamed_values,
)

CALIBRATION = SimilarityCalibration(positive_threshold=0.5, duplicate_threshold=0.9)


def rules_of(**fields: Any) -> FilteringRules:
    config = FilteringConfig.model_validate({"positive": ["cat"], **fields})
    return resolve_rules(config, "axis", CALIBRATION)


def decide_one_video(
    similarities: Mapping[str, Sequence[float]],
    rules: FilteringRules,
    *,
    seconds: Sequence[float] | None = None,
    flags: Sequence[DropReason | None] | None = None,
    verdicts: Sequence[int] | None = None,
) -> Decisions:
    num_frames = len(next(iter(similarities.values())))
    return decide(
        {text: np.array(values, np.float16) for text, values in similarities.items()},
        rules,
        pts_seconds=np.array(seconds if seconds is not None else range(num_frames), np.float64),
        video_offsets=np.array([0, num_frames]),
        quality_reasons=np.array(
            [KEPT if flag is None else REASONS.index(flag) for flag in flags or [None] * num_frames], np.int8
        ),
        verdicts=None if verdicts is None else np.array(verdicts, np.int8),
    )


def names(decisions: Decisions) -> list[str]:
    return ["kept" if code == KEPT else REASONS[code].value for code in decisions.reasons.tolist()]


def test_decide__no_frames() -> None:
    assert names(decide_one_video({"cat": []}, rules_of())) == []


def test_decide__no_videos() -> None:
    decisions = decide(
        {"cat": np.zeros(0, np.float16)},
        rules_of(min_gap_seconds=1, max_frames_per_video=1),
        pts_seconds=np.zeros(0),
        video_offsets=np.array([0]),
        quality_reasons=np.zeros(0, np.int8),
    )
    assert names(decisions) == []


def test_decide__threshold_is_inclusive() -> None:
    assert names(decide_one_video({"cat": [0.5, 0.4995]}, rules_of())) == ["kept", "below_positive"]


def test_decide__a_person_keeps_and_drops() -> None:
    rules = rules_of(junk=["dog"], min_gap_seconds=1.5)
    similarities = {"cat": [0.9, 0.8, 0.1, 0.6, math.nan], "dog": [0, 0, 0, 0.9, math.nan]}
    seconds = [0, 1, 5, 9, 12]
    assert names(decide_one_video(similarities, rules, seconds=seconds)) == [
        "kept",
        "too_close_in_time",
        "below_positive",
        "junk",
        "unreadable",
    ]
    # the frame that is dropped by hand makes room for the next, and an unreadable frame cannot be kept
    verdicts = [DROP_BY_HAND, NO_VERDICT, KEEP_BY_HAND, KEEP_BY_HAND, KEEP_BY_HAND]
    assert names(decide_one_video(similarities, rules, seconds=seconds, verdicts=verdicts)) == [
        "by_hand",
        "kept",
        "kept",
        "kept",
        "unreadable",
    ]


def test_decide__a_frame_kept_by_hand_takes_no_place_of_another() -> None:
    rules = rules_of(max_frames_per_video=1, min_gap_seconds=1.5)
    decisions = decide_one_video(
        {"cat": [0.25, 0.75, 0.625]}, rules, seconds=[0, 1, 9], verdicts=[KEEP_BY_HAND, NO_VERDICT, KEEP_BY_HAND]
    )
    assert names(decisions) == ["kept", "kept", "kept"]


def test_decide__any_positive_prompt_suffices() -> None:
    decisions = decide_one_video({"cat": [0.1, 0.75], "dog": [0.625, 0.1]}, rules_of(positive=["cat", "dog"]))
    assert names(decisions) == ["kept", "kept"]
    assert decisions.positive_prompts.tolist() == [1, 0]
    assert decisions.positive_similarities.tolist() == [0.625, 0.75]


def test_decide__prompt_with_a_threshold_of_its_own_leads_by_headroom() -> None:
    rules = rules_of(positive=[{"text": "cat", "threshold": 0.75}, "dog"])
    decisions = decide_one_video({"cat": [0.625, 0.875], "dog": [0.5625, 0.25]}, rules)
    assert names(decisions) == ["kept", "kept"]
    assert decisions.positive_prompts.tolist() == [1, 0]  # first frame: cat is .125 short, dog .0625 above


def test_decide__beaten_by_negative() -> None:
    rules = rules_of(negative=["dog"])
    decisions = decide_one_video({"cat": [0.75, 0.75, 0.25], "dog": [0.75, 0.8125, 0.875]}, rules)
    assert names(decisions) == ["kept", "beaten_by_negative", "below_positive"]
    assert decisions.negative_similarities.tolist() == [0.75, 0.8125, 0.875]


def test_decide__negative_margins_of_set_and_prompt() -> None:
    rules = rules_of(negative=["dog", {"text": "bus", "margin": 0.25}], negative_margin=0.125)
    decisions = decide_one_video(
        {"cat": [0.75, 0.75, 0.75, 0.75], "dog": [0.625, 0.6875, 0, 0], "bus": [0, 0, 0.5, 0.5625]}, rules
    )
    assert names(decisions) == ["kept", "beaten_by_negative", "kept", "beaten_by_negative"]
    assert decisions.negative_prompts.tolist() == [0, 0, 1, 1]


def test_decide__negative_below_its_floor_beats_nothing_but_is_shown() -> None:
    rules = rules_of(negative=["dog"], negative_threshold=0.875)
    decisions = decide_one_video({"cat": [0.5, 0.5], "dog": [0.75, 0.875]}, rules)
    assert names(decisions) == ["kept", "beaten_by_negative"]
    assert decisions.negative_similarities.tolist() == [0.75, 0.875]


def test_decide__junk_whatever_else_it_shows() -> None:
    decisions = decide_one_video({"cat": [0.875, 0.875], "slide": [0.5, 0.25]}, rules_of(junk=["slide"]))
    assert names(decisions) == ["junk", "kept"]


def test_decide__junk_margin_compares_with_the_positive() -> None:
    rules = rules_of(junk=["slide"], junk_margin=0.0, junk_threshold=0.25)
    decisions = decide_one_video({"cat": [0.875, 0.75, 0.5], "slide": [0.75, 0.75, 0.125]}, rules)
    assert names(decisions) == ["kept", "junk", "kept"]


def test_decide__flags_come_first_and_can_be_let_pass() -> None:
    flags = [DropReason.BLACK, DropReason.BLURRED, None]
    similarities = {"cat": [0.1, 0.9, 0.9]}
    assert names(decide_one_video(similarities, rules_of(), flags=flags)) == ["black", "blurred", "kept"]
    lenient = rules_of(drop_quality_flags=["black"])
    assert names(decide_one_video(similarities, lenient, flags=flags)) == ["black", "kept", "kept"]


def test_decide__slides_and_text_are_reasons() -> None:
    flags = [DropReason.SLIDE, DropReason.TEXT, None]
    assert names(decide_one_video({"cat": [0.9, 0.9, 0.9]}, rules_of(), flags=flags)) == ["slide", "text", "kept"]


def test_decide__unreadable() -> None:
    decisions = decide_one_video(
        {"cat": [np.nan, 0.9], "dog": [np.nan, 0.1]}, rules_of(negative=["dog"]), flags=[None, None]
    )
    assert names(decisions) == ["unreadable", "kept"]
    assert np.isnan(decisions.headroom).tolist() == [True, False]


def test_decide__min_gap_keeps_the_best_and_frames_exactly_a_gap_apart() -> None:
    rules = rules_of(min_gap_seconds=2)
    decisions = decide_one_video({"cat": [0.625, 0.75, 0.6875, 0.5625, 0.5]}, rules)
    # the frame at 1 s is the best; 0 s and 2 s are too near to it; 3 s is 2 s away and stays; 4 s is too near to 3 s
    assert names(decisions) == ["too_close_in_time", "kept", "too_close_in_time", "kept", "too_close_in_time"]


def test_decide__dropped_frames_make_nothing_too_close() -> None:
    rules = rules_of(min_gap_seconds=10, junk=["slide"])
    decisions = decide_one_video({"cat": [0.875, 0.5], "slide": [0.875, 0]}, rules)
    assert names(decisions) == ["junk", "kept"]


def test_decide__cap_by_similarity() -> None:
    decisions = decide_one_video({"cat": [0.75, 0.875, 0.75, 0.625]}, rules_of(max_frames_per_video=2))
    assert names(decisions) == ["kept", "kept", "over_video_cap", "over_video_cap"]


def test_decide__cap_by_spread() -> None:
    rules = rules_of(max_frames_per_video=2, cap_by="spread")
    decisions = decide_one_video({"cat": [0.75, 0.875, 0.625, 0.5]}, rules)
    assert names(decisions) == ["over_video_cap", "kept", "kept", "over_video_cap"]


def test_every_quality_flag_is_a_drop_reason() -> None:
    assert rules_of().dropped_flags == tuple(DropReason(flag) for flag in QualityFlag)


# --- the oracle: one frame at a time, as docs/filtering.md describes it ---


def decide_plainly(
    similarities: Mapping[str, Sequence[float]],
    rules: FilteringRules,
    seconds: Sequence[float],
    offsets: Sequence[int],
    flags: Sequence[DropReason | None],
    verdicts: Sequence[int],
) -> list[str]:
    decided = [
        decide_frame_plainly({text: values[frame] for text, values in similarities.items()}, rules, flags[frame])
        for frame in range(len(seconds))
    ]
    answers = [
        "by_hand" if verdict == DROP_BY_HAND else answer for (answer, _), verdict in zip(decided, verdicts, strict=True)
    ]
    headroom = [room for _, room in decided]
    for start, stop in pairwise(offsets):
        candidates = [frame for frame in range(start, stop) if answers[frame] == "kept"]
        kept: list[int] = []
        for frame in sorted(candidates, key=lambda frame: (-headroom[frame], frame)):
            if any(abs(seconds[frame] - seconds[other]) < rules.min_gap_seconds for other in kept):
                answers[frame] = "too_close_in_time"
            else:
                kept.append(frame)
        for frame in set(kept) - set(cap_plainly(kept, headroom, rules)):
            answers[frame] = "over_video_cap"
    is_readable = [not math.isnan(value) for value in similarities[rules.positive[0].text]]
    return [
        "kept" if verdict == KEEP_BY_HAND and readable else answer
        for answer, verdict, readable in zip(answers, verdicts, is_readable, strict=True)
    ]


def decide_frame_plainly(
    similarities: Mapping[str, float], rules: FilteringRules, flag: DropReason | None
) -> tuple[str, float]:
    """Return the decision for one frame, regardless of all others, and its headroom."""
    is_flagged = flag is not None and flag in rules.dropped_flags
    if math.isnan(similarities[rules.positive[0].text]):
        return (flag.value if flag is not None and is_flagged else "unreadable"), math.nan
    excess = [similarities[rule.text] - (rule.threshold or 0) for rule in rules.positive]
    best = max(excess)
    positive = similarities[rules.positive[excess.index(best)].text]
    negatives = [
        similarities[rule.text] + (rule.margin or 0)
        for rule in rules.negative
        if rule.threshold is None or similarities[rule.text] >= rule.threshold
    ]
    is_junk = any(
        similarities[rule.text] >= (rule.threshold or 0)
        and (rule.margin is None or similarities[rule.text] >= positive + rule.margin)
        for rule in rules.junk
    )
    if flag is not None and is_flagged:
        return flag.value, best
    if best < 0:
        return "below_positive", best
    if negatives and positive < max(negatives):
        return "beaten_by_negative", best
    return ("junk" if is_junk else "kept"), best


def cap_plainly(kept: Sequence[int], headroom: Sequence[float], rules: FilteringRules) -> list[int]:
    """Return the frames that a video keeps under the cap. `kept` is ordered by falling headroom."""
    cap = rules.max_frames_per_video
    if cap is None or len(kept) <= cap:
        return list(kept)
    if rules.cap_by != "spread":
        return list(kept[:cap])
    in_time, chosen = sorted(kept), []
    for part in range(cap):  # the best frame of each of `cap` equal parts; the first parts may have one more
        size = len(kept) // cap + (part < len(kept) % cap)
        chosen.append(max(in_time[:size], key=lambda frame: (headroom[frame], -frame)))
        in_time = in_time[size:]
    return chosen


sixteenths = st.integers(-16, 16).map(lambda number: number / 16)  # exact in float16, so there are many true ties


@settings(max_examples=150)
@given(data=st.data())
def test_decide__agrees_with_the_oracle(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=4))
    num_frames = sum(sizes)
    words = ["p0", "p1", "n0", "n1", "j0", "j1"]
    optional = st.none() | sixteenths

    def prompts(kind: str, low: int) -> list[dict[str, Any]]:
        margin = st.none() if kind == "p" else optional
        chosen = [f"{kind}{i}" for i in range(data.draw(st.integers(low, 2)))]
        return [{"text": text, "threshold": data.draw(optional), "margin": data.draw(margin)} for text in chosen]

    rules = rules_of(
        positive=prompts("p", 1),
        negative=prompts("n", 0),
        junk=prompts("j", 0),
        positive_threshold=data.draw(optional),
        negative_threshold=data.draw(optional),
        negative_margin=data.draw(sixteenths),
        junk_threshold=data.draw(optional),
        junk_margin=data.draw(optional),
        drop_quality_flags=data.draw(st.sampled_from([(), ("black",), ("blurred", "black")])),
        min_gap_seconds=data.draw(st.sampled_from([0.0, 1.0, 2.5])),
        max_frames_per_video=data.draw(st.sampled_from([None, 1, 2, 3])),
        cap_by=data.draw(st.sampled_from(["similarity", "spread"])),
    )
    similarities = {text: data.draw(st.lists(sixteenths, min_size=num_frames, max_size=num_frames)) for text in words}
    for frame in data.draw(st.sets(st.integers(0, num_frames - 1), max_size=2)) if num_frames else ():
        for values in similarities.values():
            values[frame] = math.nan
    flags = data.draw(
        st.lists(
            st.sampled_from([None, None, DropReason.BLACK, DropReason.BLURRED]),
            min_size=num_frames,
            max_size=num_frames,
        )
    )
    seconds: list[float] = []
    for size in sizes:
        steps = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=size, max_size=size))
        seconds += np.cumsum(steps).tolist()
    offsets = np.cumsum([0, *sizes])
    codes = st.sampled_from([NO_VERDICT, NO_VERDICT, KEEP_BY_HAND, DROP_BY_HAND])
    verdicts = data.draw(st.none() | st.lists(codes, min_size=num_frames, max_size=num_frames))

    decisions = decide(
        {text: np.array(values, np.float16) for text, values in similarities.items()},
        rules,
        pts_seconds=np.array(seconds, np.float64),
        video_offsets=offsets,
        quality_reasons=np.array([KEPT if flag is None else REASONS.index(flag) for flag in flags], np.int8),
        verdicts=None if verdicts is None else np.array(verdicts, np.int8),
    )

    verdicts = verdicts or [NO_VERDICT] * num_frames
    assert names(decisions) == decide_plainly(similarities, rules, seconds, offsets.tolist(), flags, verdicts)


# --- thresholds and encoders ---


def test_resolve_rules__defaults_are_the_encoders() -> None:
    rules = rules_of(negative=["dog"], junk=["slide"])
    assert (rules.positive[0].threshold, rules.positive[0].margin) == (0.5, None)
    assert (rules.negative[0].threshold, rules.negative[0].margin) == (None, 0.0)
    assert (rules.junk[0].threshold, rules.junk[0].margin) == (0.5, None)


def test_resolve_rules__value_per_encoder() -> None:
    rules = rules_of(positive_threshold={"axis": 0.25, "other": 0.125})
    assert rules.positive[0].threshold == 0.25


def test_resolve_rules__encoder_not_named() -> None:
    with pytest.raises(ConfigError, match=r"positive\[0\].threshold is given for other but not for 'axis'"):
        rules_of(positive=[{"text": "cat", "threshold": {"other": 0.125}}])


def test_unnamed_values__only_bare_numbers() -> None:
    assert unnamed_values(FilteringConfig.model_validate({"positive": ["cat"]})) == {}
    config = FilteringConfig.model_validate(
        {
            "positive": [{"text": "cat", "threshold": 0.25}],
            "positive_threshold": {"axis": 0.5},
            "negative_margin": 0.125,
        }
    )
    assert unnamed_values(config) == {"negative_margin": 0.125, "positive 'cat' threshold": 0.25}
