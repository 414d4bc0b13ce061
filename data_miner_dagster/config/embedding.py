"""How frames are embedded. Platform-wide: embeddings are shared by all projects."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class EmbeddingConfig(ConfigModel):
    """The `platform.embedding` section. None of it changes the embeddings."""

    batch_size: int = Field(default=32, ge=1, le=4096)
    """Frames per forward pass; halved by itself where memory does not suffice."""
    max_batch_megabytes: int = Field(default=256, ge=1)
    """Preprocessed images of one batch take at most this much memory. Three such batches exist at a time."""
    decode_threads: int = Field(default=2, ge=1, le=64)
    """Threads that decode and resize JPEGs while the model runs."""
