"""The base class of every configuration model, and types that several sections share."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Similarity = Annotated[float, Field(ge=-1, le=1)]
_Difference = Annotated[float, Field(ge=-2, le=2)]

Threshold = _Similarity | Mapping[str, _Similarity]
"""A number on the scale of the encoder in use, or one number per encoder, because encoders have different scales:
{"lite-conse": 0.42, "siglip2-so400m": 0.1}."""
Margin = _Difference | Mapping[str, _Difference]
"""A difference between similarities: one number, or one number per encoder."""


class ConfigModel(BaseModel):
    """The base class of all sections: frozen, strict about unknown keys, with a description of every field.

    Numbers must be finite, as JSON requires.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
