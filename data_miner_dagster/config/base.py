"""The base of every configuration model, and kinds of values that several sections have."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Similarity = Annotated[float, Field(ge=-1, le=1)]
_Difference = Annotated[float, Field(ge=-2, le=2)]

Threshold = _Similarity | Mapping[str, _Similarity]
"""A number on the scale of the encoder at hand, or one number per encoder, since a threshold of one encoder means
nothing for another: {"lite-conse": 0.42, "siglip2-so400m": 0.1}."""
Margin = _Difference | Mapping[str, _Difference]
"""A difference of similarities, likewise."""


class ConfigModel(BaseModel):
    """Frozen; a misspelt key is an error; every field has a description; numbers are finite, as JSON has no others."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
