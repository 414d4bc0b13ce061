"""The base of every configuration model."""

from pydantic import BaseModel, ConfigDict


class ConfigModel(BaseModel):
    """Frozen; a misspelt key is an error; every field has a description; numbers are finite, as JSON has no others."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
