"""Which frames to keep, described in words."""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from data_miner_dagster.config.base import ConfigModel, Margin, Threshold
from data_miner_dagster.config.exemplars import MAX_EXEMPLARS, ImagePath, check_named_once
from data_miner_dagster.config.words import is_read_as_other
from data_miner_dagster.domain.reasons import QualityFlag

_PromptText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

_EXEMPLAR_WEIGHT: Final = 0.75

PromptSet = Literal["positive", "negative", "junk"]


def _is_filter(encoder: str) -> bool:
    return encoder == "filter"


def _is_default_weight(weight: float) -> bool:
    return weight == _EXEMPLAR_WEIGHT


def _is_empty(images: tuple[str, ...]) -> bool:
    return not images


class PromptConfig(ConfigModel):
    """One prompt with its own settings. A bare string in the list is a prompt without any."""

    text: _PromptText
    """The words. They replace `{}` in every template."""
    images: tuple[ImagePath, ...] = Field(default=(), max_length=MAX_EXEMPLARS, exclude_if=_is_empty)
    """Exemplars: at least two pictures of the thing, in addition to the words. Relative to the project file.
    docs/filtering.md explains their effect."""
    threshold: Threshold | None = None
    """Replaces the threshold of its set."""
    margin: Margin | None = None
    """Replaces the margin of its set. Positive prompts have no margin."""

    @model_validator(mode="after")
    def _check_images(self) -> "PromptConfig":
        if len(self.images) == 1:
            raise ValueError(
                f"images of {self.text!r} has a single picture, from which no tolerance can be derived: "
                "give at least two"
            )
        check_named_once(self.images, self.text)
        return self


def _text_of(prompt: PromptConfig) -> str:
    return prompt.text


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
    exemplar_encoder: Literal["filter", "dedup"] = Field(default="filter", exclude_if=_is_filter)
    """What compares frames with the `images` of prompts. `filter`: the encoder of the words, at no extra cost. `dedup`:
    `platform.models.dedup_encoder`, which then embeds all frames, and not only those that are kept."""
    exemplar_weight: float = Field(default=_EXEMPLAR_WEIGHT, gt=0, le=1, exclude_if=_is_default_weight)
    """The share of `images` in the similarity to a prompt that has any; the rest is the share of its words."""
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
    def exemplar_paths(self) -> dict[str, tuple[str, ...]]:
        """The pictures beside words, as the project file names them, by the words of the prompts that have any."""
        prompts = (*self.positive, *self.negative, *self.junk)
        return {prompt.text: prompt.images for prompt in sorted(prompts, key=_text_of) if prompt.images}

    @property
    def texts(self) -> tuple[str, ...]:
        """The words of all prompts of all sets, sorted. Frames are scored against these."""
        return tuple(sorted(prompt.text for prompt in (*self.positive, *self.negative, *self.junk)))
