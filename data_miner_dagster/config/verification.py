"""A second model that examines each detected box: which model, which question, and at which cost."""

import string
from collections.abc import Mapping
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.downloading import Reference

DEFAULT_QUESTION: Final = "Is the main object in the middle of this picture: {phrases}?"
_PLACEHOLDERS: Final = frozenset({"class_name", "phrases"})
_OUR_PARAMETERS: Final = frozenset({"model", "messages", "response_format", "max_tokens", "stream", "n"})


class EndpointConfig(ConfigModel):
    """A server with OpenAI's chat completions API, under `platform.models.endpoints`. Pictures are sent to it."""

    url: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    """The address up to the version, such as `https://openrouter.ai/api/v1`. `http://`, and hosts that are not public,
    only if the host is one of `platform.downloading.allowed_private_hosts`."""
    model: str = Field(min_length=1, max_length=200)
    """The name of the model there. Answers are stored under it, regardless of the address."""
    revision: str = Field(default="", max_length=100)
    """Change it if the server has another model under the same name: all boxes are then asked about again."""
    api_key: Reference | None = None
    """The key that the server wants: `env:NAME` or `file:PATH`."""
    answer_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    """How to make the server keep to the form of an answer, strictest first. Choose one that it supports."""
    max_tokens: int = Field(default=200, ge=16, le=8192)
    """The longest answer. Models that think aloud need more."""
    parameters: Mapping[str, str | int | float | bool] = Field(default_factory=lambda: {"temperature": 0})
    """Further parameters of a request, as the server names them."""
    timeout_seconds: float = Field(default=60, gt=0, le=600)
    """A request without a whole answer for this long has failed."""
    tries: int = Field(default=4, ge=1, le=20)
    """How often a request is made that fails in a way that may pass: HTTP 429 and 500, a cut connection, a timeout."""
    try_delay_seconds: float = Field(default=1.0, ge=0, le=60)
    """The pause before the second try, doubled with each further one. A longer `Retry-After` holds instead."""
    max_pause_seconds: float = Field(default=120, ge=0, le=3600)
    """If the server asks for a longer pause, it counts as away."""
    concurrent_requests: int = Field(default=4, ge=1, le=64)
    """Boxes asked about concurrently within one run."""
    price_per_box: float | None = Field(default=None, ge=0)
    """The cost of an answer, in any currency, if the server does not charge by tokens."""
    price_per_million_input_tokens: float | None = Field(default=None, ge=0)
    """Together with the next key: the cost of an answer by the tokens that the server states."""
    price_per_million_output_tokens: float | None = Field(default=None, ge=0)
    """As above."""

    @property
    def is_priced(self) -> bool:
        """True if the cost of an answer is known."""
        return self.price_per_box is not None or self.price_per_million_input_tokens is not None

    @field_validator("parameters")
    @classmethod
    def _are_not_ours(cls, parameters: Mapping[str, str | int | float | bool]) -> Mapping[str, object]:
        if taken := sorted(_OUR_PARAMETERS & parameters.keys()):
            raise ValueError(f"{taken[0]} is set by this program; leave it out")
        return parameters

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        by_tokens = (self.price_per_million_input_tokens, self.price_per_million_output_tokens)
        if (by_tokens[0] is None) != (by_tokens[1] is None):
            raise ValueError("give the prices of input and of output tokens, or neither")
        if self.price_per_box is not None and by_tokens[0] is not None:
            raise ValueError("give price_per_box or the prices of tokens, not both")
        return self


class VerifierConfig(ConfigModel):
    """The `detection.verifier` section: each box is shown to a model, which confirms or rejects it, or cannot tell.

    A model is asked only once per box and question. The effect of its answers on a release is `releasing.verifier`.
    """

    model: str = Field(min_length=1)
    """One of `platform.models.endpoints`, or an entry of the model registry that verifies (architecture `qwen3-vl`)."""
    question: str = Field(default=DEFAULT_QUESTION, min_length=1, max_length=1000)
    """The question about a box. `{class_name}` is its class, `{phrases}` the phrases of that class. "Yes" confirms it.
    """
    min_confidence: float = Field(default=0.1, ge=0, le=1)
    """Boxes below this confidence are not asked about. A release has no use for those below `releasing.unsure_from`."""
    max_confidence: float = Field(default=1.0, ge=0, le=1)
    """Boxes above this confidence are not asked about."""
    margin: float = Field(default=0.15, ge=0, le=1)
    """How much around the box is shown, as a share of its width and height on each side."""
    max_side: int = Field(default=448, ge=64, le=2048)
    """The longer side of the shown picture, in pixels. Larger crops are scaled down."""
    max_boxes: int | None = Field(default=10_000, ge=0)
    """The project asks about this many boxes in total, and then stops. null: no limit."""
    max_cost: float | None = Field(default=None, gt=0)
    """The project spends this much in total, in the currency of the endpoint's prices, and then stops. Default: no
    limit."""
    when_unavailable: Literal["release", "wait"] = "release"
    """If the model is unavailable. `release`: the build continues; boxes without an answer are judged by their
    confidence, the release says how many, and they are asked about later. `wait`: the project waits for it."""

    @field_validator("question")
    @classmethod
    def _is_a_template(cls, question: str) -> str:
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(question) if name is not None}
        except ValueError as error:
            raise ValueError(f"it is not a template ({error}); write {{{{ for a brace") from None
        if unknown := sorted(fields - _PLACEHOLDERS):
            raise ValueError(f"{{{unknown[0]}}} is neither {{class_name}} nor {{phrases}}")
        if not fields:
            raise ValueError("it must name {class_name} or {phrases}, otherwise all classes get the same question")
        return question

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.min_confidence > self.max_confidence:
            raise ValueError("min_confidence is above max_confidence, so no box is asked about")
        return self
