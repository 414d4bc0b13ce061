"""Test the rules for candidates, and the parsing of lists and storyboards, with cases decided by hand."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from data_miner_dagster.config.sourcing import RulesConfig
from data_miner_dagster.domain.reasons import RejectionRule
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.stages.sourcing import (
    Blocklists,
    apply_cap,
    first_of_each,
    hashtags_of,
    list_entries,
    prescreening_rejection,
    rejection_of,
    split_storyboard,
    spread_over,
)


def candidate(key: str = "site-a", **values: Any) -> VideoCandidate:
    return VideoCandidate(key, "http://a.test/v", "urls", "q", 0, datetime(2026, 1, 1, tzinfo=UTC), **values)


def rule_of(rules: dict[str, Any], *, is_complete: bool = False, **values: Any) -> RejectionRule | None:
    rejection = rejection_of(candidate(**values), RulesConfig.model_validate(rules), is_complete=is_complete)
    return rejection.rule if rejection else None


def test_rejection_of__no_rules_and_nothing_known() -> None:
    assert rule_of({}) is None


R = RejectionRule


@pytest.mark.parametrize(
    ("rules", "values", "expected"),
    [
        ({"min_duration_seconds": 10}, {"duration_seconds": 9.9}, R.DURATION),
        ({"min_duration_seconds": 10}, {"duration_seconds": 10.0}, None),
        ({"max_duration_seconds": 10}, {"duration_seconds": 10.1}, R.DURATION),
        ({"published_after": "2024-01-01"}, {"upload_date": date(2023, 12, 31)}, R.UPLOAD_DATE),
        ({"published_after": "2024-01-01"}, {"upload_date": date(2024, 1, 1)}, None),
        ({"published_before": "2024-01-01"}, {"upload_date": date(2024, 1, 1)}, R.UPLOAD_DATE),
        ({"min_views": 100}, {"view_count": 99}, R.VIEWS),
        ({"max_views": 100}, {"view_count": 101}, R.VIEWS),
        ({}, {"is_live": True}, R.LIVE),
        ({"reject_live": False}, {"is_live": True}, None),
        ({"min_height": 720}, {"height": 480}, R.RESOLUTION),
        ({"min_height": 720}, {"height": 720}, None),
        ({"languages": ["en"]}, {"language": "en-GB"}, None),
        ({"languages": ["en"]}, {"language": "eng"}, R.LANGUAGE),
        ({"languages": ["pt-BR"]}, {"language": "pt_br"}, None),
        ({"licences": ["creative commons"]}, {"licence": "Creative Commons Attribution licence"}, None),
        ({"licences": ["creative commons"]}, {"licence": "Standard"}, R.LICENCE),
        ({"blocked_words": ["toy"]}, {"title": "A TOY car"}, R.WORDS),
        ({"blocked_words": ["toy"]}, {"title": "Toyota"}, None),
        ({"blocked_words": ["c++"]}, {"title": "C++ talk"}, R.WORDS),
        ({"required_words": ["car", "truck"]}, {"title": "A bike", "description": ""}, R.WORDS),
        ({"required_words": ["car"]}, {"title": "A bike"}, None),  # the description is not known yet
        ({"required_words": ["car"]}, {"title": "A bike", "tags": ("Car",), "description": ""}, None),
    ],
)
def test_rejection_of__one_rule(rules: dict[str, Any], values: dict[str, Any], expected: R | None) -> None:
    assert rule_of(rules, **values) is expected


def test_rejection_of__unknown_passes_but_for_a_licence_once_the_page_was_read() -> None:
    rules = {"min_duration_seconds": 10, "min_views": 5, "min_height": 720, "languages": ["en"], "licences": ["cc"]}
    assert rule_of(rules) is None
    assert rule_of(rules, is_complete=True) is RejectionRule.LICENCE


@pytest.mark.parametrize(
    ("values", "is_blocked"),
    [
        ({"title": "my #Art"}, True),
        ({"title": "my #cart"}, False),
        ({"title": "my art"}, False),
        ({"title": "#artwork"}, False),
        ({"tags": ("ART",)}, True),
        ({"description": "x #art."}, True),
        ({"title": "&#art;"}, False),  # an HTML entity is not a hashtag
        ({"title": "#straße"}, True),  # equals "STRASSE" after case folding
    ],
)
def test_rejection_of__blocked_hashtags_are_whole_tags(values: dict[str, Any], is_blocked: bool) -> None:
    blocklists = Blocklists.of(["#art", "STRASSE"], [])
    rejection = rejection_of(candidate(**values), RulesConfig(), blocklists)
    assert (rejection is not None and rejection.rule is RejectionRule.BLOCKED_HASHTAG) is is_blocked


def test_rejection_of__blocked_channels_by_name_or_id() -> None:
    blocklists = Blocklists.of([], ["@Some Channel", "UCx"])
    for values in ({"channel": "some  channel"}, {"channel_id": "ucX"}):
        rejection = rejection_of(candidate(**values), RulesConfig(), blocklists)
        assert rejection is not None
        assert rejection.rule is RejectionRule.BLOCKED_CHANNEL
    assert rejection_of(candidate(channel="some channel 2"), RulesConfig(), blocklists) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("ab", "contains none of 'a', 'b'"),
        ("abcdef", "contains none of 'a', 'b', 'c', 'd', 'e' and 1 more word"),
        ("abcdefg", "contains none of 'a', 'b', 'c', 'd', 'e' and 2 more words"),
    ],
)
def test_rejection_of__counts_the_required_words_that_it_does_not_name(words: str, message: str) -> None:
    rules = RulesConfig(required_words=tuple(words))
    rejection = rejection_of(candidate(title="x", description=""), rules)
    assert rejection is not None
    assert rejection.message == message


def test_hashtags_of__none() -> None:
    assert hashtags_of(candidate()) == frozenset()


def test_list_entries__comments_blanks_and_tags() -> None:
    text = "\ufeff# header\n\n#art\n  cars  # a note\nhttp://a.test/x#t=1\n#\n"
    assert list_entries(text) == ["#art", "cars", "http://a.test/x#t=1"]


def test_first_of_each__keeps_the_first() -> None:
    first, second = candidate("site-a", title="1"), candidate("site-a", title="2")
    assert first_of_each([]) == ([], 0)
    assert first_of_each([first, candidate("site-b"), second]) == ([first, candidate("site-b")], 1)


def test_apply_cap__counts_those_that_pass() -> None:
    rejected = rejection_of(candidate(is_live=True), RulesConfig())
    decided = [(candidate("site-a"), None), (candidate("site-b"), rejected), (candidate("site-c"), None)]
    assert [rejection for _, rejection in apply_cap(decided, 2)] == [None, rejected, None]
    last = apply_cap(decided, 1)[2][1]
    assert last is not None
    assert last.rule is RejectionRule.MAX_VIDEOS


def test_prescreening_rejection__at_the_threshold_passes() -> None:
    assert prescreening_rejection(None, "car", 0.3) is None
    assert prescreening_rejection(0.3, "car", 0.3) is None
    assert prescreening_rejection(0.29, "car", 0.3) is not None


def test_spread_over__evenly_from_the_first() -> None:
    assert spread_over(0, 4) == []
    assert spread_over(3, 4) == [0, 1, 2]
    assert spread_over(101, 4) == [0, 25, 50, 75]


def test_split_storyboard__leaves_out_the_black_end() -> None:
    board = np.zeros((20, 30, 3), np.uint8)
    board[:10] = 100  # the first of two rows, each with three tiles
    board[10:, :10] = 200
    tiles = split_storyboard(board, 2, 3)
    assert [int(tile.mean()) for tile in tiles] == [100, 100, 100, 200]
    assert tiles[0].shape == (10, 10, 3)
    assert len(split_storyboard(board, 1, 1)) == 1


def test_rules_config__ranges_the_wrong_way_round() -> None:
    with pytest.raises(ValidationError, match="is above"):
        RulesConfig(min_duration_seconds=10, max_duration_seconds=5)
