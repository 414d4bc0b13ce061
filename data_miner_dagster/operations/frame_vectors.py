"""The stored vectors of chosen frames, by one of the two image encoders."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.encoders import embed_images
from data_miner_dagster.storage.embeddings import (
    StoredEmbeddings,
    read_embeddings,
    read_embeddings_fingerprint,
    write_embeddings,
)
from data_miner_dagster.storage.tables import read_fingerprint, read_table

EncoderKind = Literal["dedup", "filter"]

_LENGTH_TOLERANCE = 0.01
"""Float16 components leave a unit vector's length within 0.1 %."""


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """One of the two image encoders, known without being loaded."""

    kind: EncoderKind
    name: str
    fingerprint: str
    duplicate_threshold: float


def choose_encoder(platform: Platform, kind: EncoderKind) -> EncoderChoice:
    """Return what there is to know of the encoder of this kind. Loads no weights."""
    models = platform.models
    if kind == "filter":
        calibration = models.filter_encoder_calibration
        return EncoderChoice(
            kind, models.filter_encoder_name, models.filter_encoder_fingerprint, calibration.duplicate_threshold
        )
    calibration = models.dedup_encoder_calibration
    return EncoderChoice(
        kind, models.dedup_encoder_name, models.dedup_encoder_fingerprint, calibration.duplicate_threshold
    )


def read_frame_vectors(platform: Platform, encoder: EncoderChoice, frames: pa.Table) -> npt.NDArray[np.float16]:
    """Return the (N, D) stored vectors of frames, in the order of the rows; what is missing is embedded first.

    Besides the result, one video's file is in memory at a time.

    Args:
        platform: whose frames and models.
        encoder: by which encoder.
        frames: has `video_key` and `frame_index`; in any order.

    Raises:
        DataMinerError: a frame could not be embedded, or what is stored for it is no unit vector.
    """
    rows_by_video = _rows_by_video(frames["video_key"].to_pylist())
    frame_indices = frames["frame_index"].to_numpy()
    for video_key in rows_by_video:
        _embed_if_missing(platform, encoder, video_key)
    vectors: npt.NDArray[np.float16] | None = None
    for video_key, rows in rows_by_video.items():
        stored = _stored_embeddings(platform, encoder, video_key)
        positions = np.searchsorted(stored.frame_indices, frame_indices[rows])
        is_missing = np.append(stored.frame_indices, -1)[positions] != frame_indices[rows]
        if np.any(is_missing):
            raise PermanentError(
                f"frame {frame_indices[rows][is_missing][0]} of {video_key} has no embedding by {encoder.name}; "
                f"materialize frame_embeddings of {video_key} again"
            )
        if vectors is None:
            vectors = np.empty((len(frame_indices), stored.vectors.shape[1]), np.float16)
        vectors[rows] = _checked(stored.vectors[positions], encoder, video_key)
    return vectors if vectors is not None else np.zeros((0, 1), np.float16)


def _embed_if_missing(platform: Platform, encoder: EncoderChoice, video_key: str) -> None:
    layout = platform.layout
    frames_fingerprint = read_fingerprint(layout.frames_table(video_key))
    path = layout.embedding_file(encoder.name, video_key)
    if encoder.kind == "filter" or frames_fingerprint is None:
        return  # frame_embeddings makes those
    fingerprint = embeddings_fingerprint_of(frames_fingerprint, encoder.fingerprint)
    if read_embeddings_fingerprint(path) == fingerprint:
        return
    model = platform.models.dedup_encoder()
    manifest = read_table(layout.frames_table(video_key), ["frame_index", "file_name"])
    vectors = []
    for file_name in manifest["file_name"].to_pylist():
        with Image.open(layout.frame_path(video_key, file_name)) as image:
            vectors.append(embed_images(model, [np.asarray(image.convert("RGB"))]).astype(np.float16))
    stacked = np.concatenate(vectors) if vectors else np.zeros((0, model.embedding_dim), np.float16)
    frame_indices = manifest["frame_index"].to_numpy().astype(np.int32)
    write_embeddings(path, StoredEmbeddings(frame_indices, stacked, fingerprint))


def _rows_by_video(video_keys: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(video_keys):
        rows.setdefault(key, []).append(row)
    return {key: np.asarray(rows[key], np.int64) for key in sorted(rows)}


def _stored_embeddings(platform: Platform, encoder: EncoderChoice, video_key: str) -> StoredEmbeddings:
    frames_fingerprint = read_fingerprint(platform.layout.frames_table(video_key))
    stored = read_embeddings(platform.layout.embedding_file(encoder.name, video_key))
    if (
        frames_fingerprint is None
        or stored is None
        or stored.fingerprint != embeddings_fingerprint_of(frames_fingerprint, encoder.fingerprint)
    ):
        raise PermanentError(
            f"the embeddings of {video_key} by {encoder.name} are missing or older than its frames; "
            f"materialize frames and frame_embeddings of {video_key} again"
        )
    return stored


def _checked(vectors: npt.NDArray[np.float16], encoder: EncoderChoice, video_key: str) -> npt.NDArray[np.float16]:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    is_unit = np.abs(lengths - 1) <= _LENGTH_TOLERANCE  # false for NaN
    if not np.all(is_unit):
        raise PermanentError(
            f"{np.count_nonzero(~is_unit)} embeddings of {video_key} by {encoder.name} are no unit vectors "
            f"(first length {lengths[~is_unit][0]:.4g}); the model is broken, or half precision overflows: "
            "try another device"
        )
    return vectors
