from typing import Any

import pytest
from pydantic import ValidationError

from data_miner_dagster.config.verification import EndpointConfig, VerifierConfig
from data_miner_dagster.domain.records import ClassPrompts
from data_miner_dagster.stages.verification.questions import Shown, is_asked, prompt_of, question_key, shown_of


def config_of(**settings: Any) -> VerifierConfig:
    return VerifierConfig.model_validate({"model": "eyes", **settings})


@pytest.mark.parametrize(
    ("box", "settings", "shown"),
    [
        ((100.0, 50.0, 300.0, 150.0), {"margin": 0}, Shown((100, 50, 300, 150), (200, 100))),
        ((100.0, 50.0, 300.0, 150.0), {"margin": 0.1}, Shown((80, 40, 320, 160), (240, 120))),
        ((-5.0, 350.2, 40.5, 400.0), {"margin": 0.5}, Shown((0, 325, 64, 360), (117, 64))),  # clipped at the edges
        ((10.0, 10.0, 26.0, 18.0), {"margin": 0}, Shown((10, 10, 26, 18), (128, 64))),  # enlarged to the minimum size
        ((0.0, 0.0, 640.0, 320.0), {"margin": 0, "max_side": 64}, Shown((0, 0, 640, 320), (64, 32))),
        ((640.0, 0.0, 700.0, 90.0), {}, None),
        ((20.0, 20.0, 20.0, 40.0), {}, None),
    ],
)
def test_shown_of__a_window_of_whole_pixels(
    box: tuple[float, float, float, float], settings: dict[str, Any], shown: Shown | None
) -> None:
    assert shown_of(box, (640, 360), config_of(**settings)) == shown


def test_prompt_of__names_the_class_and_its_phrases() -> None:
    cars = ClassPrompts("vehicle", ("car", "bus", "van"))
    assert "the middle of this picture: car, bus or van?\n" in prompt_of(cars, config_of())
    assert "\nIs it a vehicle?\n" in prompt_of(cars, config_of(question="Is it a {class_name}?"))
    assert "the middle of this picture: part 7731?\n" in prompt_of(ClassPrompts("part 7731", ()), config_of())


@pytest.mark.parametrize("question", ["Is it a car?", "Is it a {thing}?", "Is it {a", "{class_name.x}?"])
def test_verifier_config__a_question_is_a_template(question: str) -> None:
    with pytest.raises(ValidationError, match="question"):
        config_of(question=question)


def test_question_key__anything_that_is_shown_or_asked_makes_another() -> None:
    shown = Shown((1, 2, 3, 4), (64, 64))
    keys = {
        question_key("a" * 64, shown, "prompt", "model"),
        question_key("b" * 64, shown, "prompt", "model"),
        question_key("a" * 64, Shown((1, 2, 3, 5), (64, 64)), "prompt", "model"),
        question_key("a" * 64, Shown((1, 2, 3, 4), (65, 64)), "prompt", "model"),
        question_key("a" * 64, shown, "other prompt", "model"),
        question_key("a" * 64, shown, "prompt", "other model"),
    }
    assert len(keys) == 6
    assert question_key("a" * 64, shown, "prompt", "model") in keys


def test_is_asked__both_ends_included() -> None:
    config = config_of(min_confidence=0.25, max_confidence=0.75)
    assert [is_asked(confidence, config) for confidence in (0.24, 0.25, 0.75, 0.76)] == [False, True, True, False]


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "sk-plain"},
        {"url": "https://user:password@host/v1"},
        {"parameters": {"stream": True}},
        {"price_per_million_input_tokens": 1.0},
        {"price_per_box": 1.0, "price_per_million_input_tokens": 1.0, "price_per_million_output_tokens": 1.0},
    ],
)
def test_endpoint_config__refuses(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EndpointConfig.model_validate({"url": "https://host/v1", "model": "m", **settings})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("price_per_million_input_tokens", "price_per_million_output_tokens"),
        ("price_per_million_output_tokens", "price_per_million_input_tokens"),
    ],
)
def test_endpoint_config__names_the_price_that_is_missing(given: str, missing: str) -> None:
    with pytest.raises(ValidationError, match=f"{given} is set, but {missing} is not; set both or neither"):
        EndpointConfig.model_validate({"url": "https://host/v1", "model": "m", given: 1.0})
