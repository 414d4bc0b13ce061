"""Settings for a second model that examines each detected box: the model, the question and the budget."""

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
    """The URL up to the version, such as `https://openrouter.ai/api/v1`. `http://` and hosts that are not public are
    allowed only if the host is in `platform.downloading.allowed_private_hosts`."""
    model: str = Field(min_length=1, max_length=200)
    """The server's name for the model. Answers are stored under this name, regardless of the URL."""
    revision: str = Field(default="", max_length=100)
    """A label for the version of the model. Change it if the server replaces the model under the same name: all boxes
    are then examined again."""
    api_key: Reference | None = None
    """The API key that the server requires: `env:NAME` or `file:PATH`."""
    answer_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    """How to request answers in the required form, from the strictest to the loosest. Choose one that the server
    supports."""
    max_tokens: int = Field(default=200, ge=16, le=8192)
    """The maximum length of an answer, in tokens. Models that write out their reasoning need more."""
    parameters: Mapping[str, str | int | float | bool] = Field(default_factory=lambda: {"temperature": 0})
    """Additional parameters for each request, by the server's names."""
    timeout_seconds: float = Field(default=60, gt=0, le=600)
    """A request without a complete answer within this time counts as failed."""
    tries: int = Field(default=4, ge=1, le=20)
    """The number of tries for a request with transient failures, such as HTTP 429 or 503, a dropped connection or a
    timeout."""
    try_delay_seconds: float = Field(default=1.0, ge=0, le=60)
    """The pause before the second try. It doubles with each further try, up to 60 seconds. A longer `Retry-After` takes
    precedence."""
    max_pause_seconds: float = Field(default=120, ge=0, le=3600)
    """A server that requests a longer pause counts as unavailable."""
    concurrent_requests: int = Field(default=4, ge=1, le=64)
    """The most boxes that are examined concurrently within one run."""
    price_per_box: float | None = Field(default=None, ge=0)
    """The cost of an answer, in any currency, if the server does not charge by tokens."""
    price_per_million_input_tokens: float | None = Field(default=None, ge=0)
    """The price of a million input tokens, as counted by the server. Give the price of output tokens too."""
    price_per_million_output_tokens: float | None = Field(default=None, ge=0)
    """The price of a million output tokens, as counted by the server. Give the price of input tokens too."""

    @property
    def is_priced(self) -> bool:
        """True if the settings state the price of an answer or of tokens."""
        return self.price_per_box is not None or self.price_per_million_input_tokens is not None

    @field_validator("parameters")
    @classmethod
    def _are_not_ours(cls, parameters: Mapping[str, str | int | float | bool]) -> Mapping[str, object]:
        if taken := sorted(_OUR_PARAMETERS & parameters.keys()):
            raise ValueError(f"the parameter {taken[0]!r} is set by this program; remove it")
        return parameters

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        by_tokens = (self.price_per_million_input_tokens, self.price_per_million_output_tokens)
        if (by_tokens[0] is None) != (by_tokens[1] is None):
            names = ("price_per_million_input_tokens", "price_per_million_output_tokens")
            given, missing = names if by_tokens[1] is None else names[::-1]
            raise ValueError(f"{given} is set, but {missing} is not; set both or neither")
        if self.price_per_box is not None and by_tokens[0] is not None:
            raise ValueError(
                "price_per_box is set, and so are price_per_million_input_tokens and price_per_million_output_tokens; "
                "remove price_per_box, or both prices of tokens"
            )
        return self


class VerifierConfig(ConfigModel):
    """The `detection.verifier` section: a model examines each box, and confirms it, rejects it or cannot tell.

    The model is queried only once per box and question. `releasing.verifier` sets the effect of its answers on a
    release.
    """

    model: str = Field(min_length=1)
    """The name of one of `platform.models.endpoints`, or of a verifier in the model registry (architecture `qwen3-vl`).
    """
    question: str = Field(default=DEFAULT_QUESTION, min_length=1, max_length=1000)
    """The question about a box. `{class_name}` is its class, `{phrases}` the phrases of that class. "Yes" confirms
    the box."""
    min_confidence: float = Field(default=0.1, ge=0, le=1)
    """Boxes below this confidence are not examined. A value below `releasing.unsure_from` is pointless, since a
    release does not use boxes below that."""
    max_confidence: float = Field(default=1.0, ge=0, le=1)
    """Boxes above this confidence are not examined."""
    margin: float = Field(default=0.15, ge=0, le=1)
    """The margin to show around the box, as a share of its width and height, on each side."""
    max_side: int = Field(default=448, ge=64, le=2048)
    """The longer side of the shown picture, in pixels. Larger crops are scaled down."""
    max_boxes: int | None = Field(default=10_000, ge=0)
    """The most boxes of the project to examine in total. null: no limit."""
    max_cost: float | None = Field(default=None, gt=0)
    """The most that the project may spend in total, in the currency of the endpoint's prices. Default: no limit."""
    when_unavailable: Literal["release", "wait"] = "release"
    """The behaviour if the model is unavailable. `release`: the build continues, and boxes without an answer are judged
    by their confidence. The release records how many there are, and they are examined later. `wait`: the project waits
    for the model."""

    @field_validator("question")
    @classmethod
    def _is_a_template(cls, question: str) -> str:
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(question) if name is not None}
        except ValueError as error:
            raise ValueError(
                f"the question is not a valid template ({error}); write {{{{ for {{, and }}}} for }}"
            ) from None
        if unknown := sorted(fields - _PLACEHOLDERS):
            raise ValueError(f"{{{unknown[0]}}} is not a supported placeholder; use {{class_name}} or {{phrases}}")
        if not fields:
            raise ValueError("the question would be the same for all classes; write {class_name} or {phrases} in it")
        return question

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.min_confidence > self.max_confidence:
            raise ValueError(
                f"min_confidence ({self.min_confidence:g}) is above max_confidence ({self.max_confidence:g}), so no "
                "box would be examined; lower the former or raise the latter"
            )
        return self
