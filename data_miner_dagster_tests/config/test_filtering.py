"""What a filtering section may contain."""

from typing import Any

import pytest
from pydantic import ValidationError

from data_miner_dagster.config.filtering import FilteringConfig, PromptConfig


def parse(**fields: Any) -> FilteringConfig:
    return FilteringConfig.model_validate(fields)


def test_filtering_config__no_positive_prompt() -> None:
    with pytest.raises(ValidationError, match="positive"):
        parse(positive=[])


def test_filtering_config__prompts_are_strings_or_mappings() -> None:
    config = parse(positive=["a cat", {"text": " a dog ", "threshold": {"axis": 0.25}}])
    assert config.positive == (PromptConfig(text="a cat"), PromptConfig(text="a dog", threshold={"axis": 0.25}))


def test_filtering_config__survives_json() -> None:
    config = parse(positive=["a cat"], junk=[{"text": "slide", "threshold": 0.25}], positive_threshold={"axis": 0.5})
    assert FilteringConfig.model_validate(config.model_dump(mode="json")) == config


def test_filtering_config__texts_are_sorted_over_all_sets() -> None:
    assert parse(positive=["c", "a"], negative=["b"]).texts == ("a", "b", "c")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positive": [""]}, "at least 1 character"),
        ({"positive": ["a", "a"]}, "'a' is in positive and again in positive"),
        ({"positive": ["a"], "junk": ["a "]}, "'a' is in positive and again in junk"),
        ({"positive": [{"text": "a", "margin": 0.1}]}, "positive prompt 'a' has a margin"),
        ({"positive": ["a"], "templates": ["a photo"]}, "exactly once"),
        ({"positive": ["a"], "positive_threshold": 1.5}, "less than or equal to 1"),
        ({"positive": ["a"], "positive_threshold": {"axis": 1.5}}, "less than or equal to 1"),
        ({"positive": ["a"], "drop_quality_flags": ["ugly"]}, "'black', 'flat'"),
        ({"positive": ["a"], "min_gap_seconds": -1}, "greater than or equal to 0"),
        ({"positive": ["a"], "positiv_threshold": 0.5}, "Extra inputs"),
    ],
)
def test_filtering_config__mistakes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse(**fields)
