"""Embeddings that are written down instead of computed."""

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import read_fingerprint
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings


def plant_embeddings(platform: Platform, video_key: str, vectors: npt.NDArray[np.float16]) -> None:
    """Store (N, D) vectors as what the filter encoder says of the N frames of a video, whose table is there."""
    frames_fingerprint = read_fingerprint(platform.layout.frames_table(video_key))
    assert frames_fingerprint is not None
    models = platform.models
    write_embeddings(
        platform.layout.embedding_file(models.filter_encoder.name, video_key),
        StoredEmbeddings(
            np.arange(len(vectors), dtype=np.int32),
            vectors,
            embeddings_fingerprint_of(frames_fingerprint, models.filter_encoder.fingerprint),
        ),
    )
