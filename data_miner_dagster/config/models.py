"""Which models do the work."""

from typing import Literal

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class ModelsConfig(ConfigModel):
    """The `platform.models` section. Names are entries of the model registry (`data-miner models list`)."""

    profile: Literal["lite", "standard"] = "standard"
    """`standard`: Hugging Face hub, GPU if there is one. `lite`: small real weights from package registries, CPU."""
    filter_encoder: str | None = None
    """Default: the profile's."""
    dedup_encoder: str | None = None
    """Default: the profile's."""
    detector: str | None = None
    """Default: the profile's."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """`auto`: CUDA, then MPS, then CPU."""
