"""Settings for embedding frames. They are platform-wide because all projects share the embeddings."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class EmbeddingConfig(ConfigModel):
    """The `platform.embedding` section. None of these settings changes the embeddings."""

    batch_size: int = Field(default=32, ge=1, le=4096)
    """The number of frames per forward pass. It is halved automatically if memory runs out."""
    max_batch_megabytes: int = Field(default=256, ge=1)
    """The most memory for the preprocessed images of one batch, in megabytes. Up to three batches exist at a time."""
    decode_threads: int = Field(default=2, ge=1, le=64)
    """The number of threads that decode and resize JPEGs while the model runs."""
