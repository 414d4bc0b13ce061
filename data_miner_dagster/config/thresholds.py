"""Numbers on an encoder's scale: a threshold of one encoder means nothing for another."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

_Similarity = Annotated[float, Field(ge=-1, le=1)]
_Difference = Annotated[float, Field(ge=-2, le=2)]

Threshold = _Similarity | Mapping[str, _Similarity]
"""A number for the encoder at hand, or one number per encoder: {"lite-conse": 0.42, "siglip2-so400m": 0.1}."""
Margin = _Difference | Mapping[str, _Difference]
"""A difference of similarities, likewise."""
