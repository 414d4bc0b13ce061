"""Settings for the filter, which chooses the frames to keep by comparing them with prompts."""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, field_validator, model_validator

from data_miner_dagster.config.base import ConfigModel, Margin, Threshold
from data_miner_dagster.config.exemplars import MAX_EXEMPLARS, ImagePath, check_named_once
from data_miner_dagster.config.words import is_read_as_other, visible_text
from data_miner_dagster.domain.reasons import QualityFlag

_PromptText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(visible_text)]

_EXEMPLAR_WEIGHT: Final = 0.75

PromptSet = Literal["positive", "negative", "junk"]


def _is_filter(encoder: str) -> bool:
    return encoder == "filter"


def _is_default_weight(weight: float) -> bool:
    return weight == _EXEMPLAR_WEIGHT


def _is_empty(images: tuple[str, ...]) -> bool:
    return not images


class PromptConfig(ConfigModel):
    """One prompt with settings of its own. A prompt without such settings may be written as a bare string."""

    text: _PromptText
    """The words. They replace `{}` in every template."""
    images: tuple[ImagePath, ...] = Field(default=(), max_length=MAX_EXEMPLARS, exclude_if=_is_empty)
    """Exemplars: paths of at least two pictures, relative to the project file, that describe the prompt in addition to
    its words. docs/filtering.md explains their effect."""
    threshold: Threshold | None = None
    """The threshold for this prompt. Default: the threshold of its set."""
    margin: Margin | None = None
    """The margin for this negative or junk prompt. Default: the margin of its set."""

    @model_validator(mode="after")
    def _check_images(self) -> "PromptConfig":
        if len(self.images) == 1:
            raise ValueError(
                f"`images` of {self.text!r} has a single picture, from which no tolerance can be derived; "
                "give at least two"
            )
        check_named_once(self.images, self.text)
        return self


def _text_of(prompt: PromptConfig) -> str:
    return prompt.text


def _prompt_of_text(value: Any) -> Any:
    if value is None:
        raise ValueError("must be text: write the words of the prompt")
    if is_read_as_other(value):
        raise ValueError("must be text: put it in quotes")
    return {"text": value} if isinstance(value, str) else value


Prompt = Annotated[PromptConfig, BeforeValidator(_prompt_of_text)]


class FilteringConfig(ConfigModel):
    """The `filtering` section of a project. docs/filtering.md explains how frames are kept or dropped."""

    positive: tuple[Prompt, ...] = Field(min_length=1)
    """Prompts for frames to keep. A frame is kept only if it resembles at least one of them."""
    negative: tuple[Prompt, ...] = ()
    """Prompts for frames to drop. A frame is dropped if it resembles one of them more than the positive prompts, with
    `negative_margin` taken into account."""
    junk: tuple[Prompt, ...] = ()
    """Prompts for junk, such as slides, logos and end cards. A frame whose similarity to one of them reaches
    `junk_threshold` is dropped, whatever else it shows, unless `junk_margin` prevents it."""
    exemplar_encoder: Literal["filter", "dedup"] = Field(default="filter", exclude_if=_is_filter)
    """The encoder that compares frames with the `images` of prompts. `filter`: the encoder of the words, at no extra
    cost. `dedup`: `platform.models.dedup_encoder`, which then embeds all frames instead of only the kept ones."""
    exemplar_weight: float = Field(default=_EXEMPLAR_WEIGHT, gt=0, le=1, exclude_if=_is_default_weight)
    """The weight of the images in the similarity to a prompt that has images. The words have the remaining weight."""
    templates: tuple[Annotated[str, AfterValidator(visible_text)], ...] = Field(default=("{}",), min_length=1)
    """Templates for every prompt, such as "a photo of {}". A prompt's embedding is the mean over all templates."""
    positive_threshold: Threshold | None = None
    """The lowest similarity at which a positive prompt matches. Default: the encoder's own calibrated threshold."""
    negative_threshold: Threshold | None = None
    """The lowest similarity at which a negative prompt counts. Default: it always counts."""
    negative_margin: Margin = 0.0
    """A frame is dropped if its positive similarity is less than its negative similarity plus this margin."""
    junk_threshold: Threshold | None = None
    """The lowest similarity at which a junk prompt matches. Default: the positive threshold."""
    junk_margin: Margin | None = None
    """If set, a frame is junk only if its junk similarity is also at least its positive similarity plus this margin.
    Default: they are not compared."""
    drop_quality_flags: tuple[QualityFlag, ...] = tuple(QualityFlag)
    """Drop frames that extraction marked with one of these flags."""
    min_gap_seconds: float = Field(default=0.0, ge=0)
    """If kept frames of a video are closer together than this, keep only the best."""
    max_frames_per_video: int | None = Field(default=None, ge=1)
    """Keep at most this many frames per video. Only people's verdicts can keep more."""
    cap_by: Literal["similarity", "spread"] = "similarity"
    """How to choose the frames for `max_frames_per_video`. `similarity`: keep the best frames of the whole video.
    `spread`: divide the video into equal parts, and keep the best frame of each."""

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
                raise ValueError(
                    f"positive prompt {prompt.text!r} has a margin, which only negative and junk prompts may have; "
                    "remove it"
                )
        seen: dict[str, str] = {}
        for set_name in get_args(PromptSet):
            for text in self.texts_of(set_name):
                if text in seen:
                    raise ValueError(f"prompt {text!r} is in {seen[text]} and again in {set_name}; keep one")
                seen[text] = set_name
        return self

    def texts_of(self, set_name: PromptSet) -> tuple[str, ...]:
        """Return the words of the prompts in one set, in order."""
        prompts: tuple[PromptConfig, ...] = getattr(self, set_name)
        return tuple(prompt.text for prompt in prompts)

    @property
    def exemplar_paths(self) -> dict[str, tuple[str, ...]]:
        """The paths of exemplars by the words of their prompt, as written in the project file.

        Prompts without exemplars are omitted.
        """
        prompts = (*self.positive, *self.negative, *self.junk)
        return {prompt.text: prompt.images for prompt in sorted(prompts, key=_text_of) if prompt.images}

    @property
    def texts(self) -> tuple[str, ...]:
        """The sorted words of the prompts in all sets. Frames are compared with all of them."""
        return tuple(sorted(prompt.text for prompt in (*self.positive, *self.negative, *self.junk)))
