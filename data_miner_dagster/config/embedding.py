"""How frames are embedded. Platform-wide: embeddings are shared by all projects."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class EmbeddingConfig(ConfigModel):
    """The `platform.embedding` section."""

    batch_size: int = Field(default=32, ge=1)
    """Frames per forward pass; halved by itself where memory does not suffice."""
    decode_threads: int = Field(default=2, ge=1, le=64)
    """Threads that decode and resize JPEGs while the model runs."""
