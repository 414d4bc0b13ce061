"""Embeddings that are planted instead of computed."""

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.domain.thumbnails import NUM_VALUES
from data_miner_dagster.models.provider import THUMBNAILS, EncoderRole, ModelRole
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.encoders import ImageTextEncoder
from data_miner_dagster.storage.tables import read_fingerprint
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings


def plant_embeddings(platform: Platform, video_key: str, vectors: npt.NDArray[np.float16]) -> None:
    """Store (N, D) vectors as the filter encoder's embeddings of a video's N frames, whose table must exist."""
    _plant(platform, platform.models.filter_encoder, video_key, vectors)


def plant_thumbnails(
    platform: Platform, video_key: str, num_frames: int, thumbnails: npt.NDArray[np.uint8] | None = None
) -> None:
    """Store the thumbnails of a video's frames, whose table must exist. By default, all of them are plain grey."""
    plain = np.full((num_frames, NUM_VALUES), 128, np.uint8)
    _plant(platform, THUMBNAILS, video_key, (plain if thumbnails is None else thumbnails).astype(np.float16))


def _plant(
    platform: Platform,
    encoder: EncoderRole | ModelRole[ImageTextEncoder],
    video_key: str,
    vectors: npt.NDArray[np.float16],
) -> None:
    frames_fingerprint = read_fingerprint(platform.layout.frames_table(video_key))
    assert frames_fingerprint is not None
    stored = StoredEmbeddings(
        np.arange(len(vectors), dtype=np.int32),
        vectors,
        embeddings_fingerprint_of(frames_fingerprint, encoder.fingerprint),
    )
    write_embeddings(platform.layout.embedding_file(encoder.name, video_key), stored)
