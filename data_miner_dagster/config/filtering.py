"""Which frames to keep, described in words."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from data_miner_dagster.config.base import ConfigModel, Margin, Threshold
from data_miner_dagster.config.words import is_read_as_other
from data_miner_dagster.domain.reasons import QualityFlag

_PromptText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

PromptSet = Literal["positive", "negative", "junk"]


class PromptConfig(ConfigModel):
    """One prompt with its own settings. A bare string in the list is a prompt without any."""

    text: _PromptText
    """The words. They replace `{}` in every template."""
    threshold: Threshold | None = None
    """Replaces the threshold of its set."""
    margin: Margin | None = None
    """Replaces the margin of its set. Positive prompts have no margin."""


def _prompt_of_text(value: Any) -> Any:
    if is_read_as_other(value):
        raise ValueError("must be text; put it in quotes")
    return {"text": value} if isinstance(value, str) else value


Prompt = Annotated[PromptConfig, BeforeValidator(_prompt_of_text)]


class FilteringConfig(ConfigModel):
    """The `filtering` section of a project. docs/filtering.md explains how a frame is decided."""

    positive: tuple[Prompt, ...] = Field(min_length=1)
    """A frame is kept if it resembles at least one of these."""
    negative: tuple[Prompt, ...] = ()
    """A frame is dropped if it resembles one of these more than the positives, `negative_margin` included."""
    junk: tuple[Prompt, ...] = ()
    """Slides, logos, end cards: dropped at `junk_threshold`, whatever else the frame shows."""
    templates: tuple[str, ...] = Field(default=("{}",), min_length=1)
    """Sentences around every prompt, such as "a photo of {}"; the prompt's embedding is the mean over them."""
    positive_threshold: Threshold | None = None
    """Default: the encoder's own calibrated threshold."""
    negative_threshold: Threshold | None = None
    """A negative prompt counts only at or above this. Default: always."""
    negative_margin: Margin = 0.0
    """The positive must exceed the negative by this much."""
    junk_threshold: Threshold | None = None
    """Default: the positive threshold."""
    junk_margin: Margin | None = None
    """If set, a frame is junk only if junk also exceeds the positive by this much. Default: not compared."""
    drop_quality_flags: tuple[QualityFlag, ...] = tuple(QualityFlag)
    """Drop frames that extraction marked with one of these."""
    min_gap_seconds: float = Field(default=0.0, ge=0)
    """If kept frames of a video are closer together than this, keep only the best."""
    max_frames_per_video: int | None = Field(default=None, ge=1)
    """Keep at most this many frames per video."""
    cap_by: Literal["similarity", "spread"] = "similarity"
    """For `max_frames_per_video`: keep the best of the whole video, or the best of each of its equal parts."""

    @field_validator("templates")
    @classmethod
    def _check_templates(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f'template {template!r} must contain "{{}}" exactly once')
        return templates

    @model_validator(mode="after")
    def _check_prompts(self) -> "FilteringConfig":
        for prompt in self.positive:
            if prompt.margin is not None:
                raise ValueError(f"positive prompt {prompt.text!r} has a margin: only negative and junk prompts do")
        seen: dict[str, str] = {}
        for set_name in get_args(PromptSet):
            for text in self.texts_of(set_name):
                if text in seen:
                    raise ValueError(f"prompt {text!r} is in {seen[text]} and again in {set_name}: keep one")
                seen[text] = set_name
        return self

    def texts_of(self, set_name: PromptSet) -> tuple[str, ...]:
        """Return the words of one set of prompts, in order."""
        prompts: tuple[PromptConfig, ...] = getattr(self, set_name)
        return tuple(prompt.text for prompt in prompts)

    @property
    def texts(self) -> tuple[str, ...]:
        """The words of all prompts of all sets, sorted. Frames are scored against these."""
        return tuple(sorted(prompt.text for prompt in (*self.positive, *self.negative, *self.junk)))
