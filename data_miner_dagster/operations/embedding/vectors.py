"""Return the vectors of chosen frames, computed if necessary, and an encoder's threshold for near-duplicates."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.embedding.some_frames import ensure_embeddings, load_vectors
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.left_out import VideosLeftOutError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.thresholds import value_for_encoder

_LENGTH_TOLERANCE = 0.01
"""The tolerance for the length of a float16 unit vector, far above the rounding error."""


def duplicate_threshold(config: DeduplicationConfig, encoder: EncoderRole) -> float:
    """Return the cosine similarity at or above which frames are near-duplicates according to an encoder.

    Raises:
        ConfigError: thresholds are given per encoder, but not for this encoder.
    """
    given = value_for_encoder("deduplication.threshold", config.threshold, encoder.name)
    return encoder.calibration.duplicate_threshold if given is None else given


def read_frame_vectors(platform: Platform, encoder: EncoderRole, frames: pa.Table) -> npt.NDArray[np.float16]:
    """Return the (N, D) float16 vectors of frames, in the order of the rows. Missing vectors are computed and stored.

    Besides the result, only one video's vectors are in memory at a time. If `frames` is empty, the shape is (0, 1).

    Args:
        platform: the platform with the frames and models.
        encoder: the encoder that computes the vectors.
        frames: a table with `video_key` and `frame_index`, in any order.

    Raises:
        VideosLeftOutError: frames of some videos could not be embedded, or a stored vector is not a unit vector.
        ModelError: vectors must be computed, but the encoder is missing.
        DamagedFileError: the frame table of a video is damaged.
    """
    faults: dict[str, ItemFault] = {}
    rows_by_video = _rows_by_video(frames["video_key"].to_pylist())
    frame_indices = frames["frame_index"].to_numpy()
    ensure_embeddings(platform, encoder, {key: frame_indices[rows] for key, rows in rows_by_video.items()})
    vectors: npt.NDArray[np.float16] | None = None

    def vectors_of(video_key: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        of_video = load_vectors(platform, encoder, video_key, frame_indices[rows]).astype(np.float16)
        return _checked(of_video, encoder, video_key, partial(_remedy, platform, encoder, video_key))

    with item_guard("deduplicated_frames") as guard:
        for video_key, rows in rows_by_video.items():
            of_video = guard.attempt(
                video_key, partial(vectors_of, video_key, rows), partial(faults.__setitem__, video_key)
            )
            if of_video is None:
                continue
            if vectors is None:
                vectors = np.empty((len(frame_indices), of_video.shape[1]), np.float16)
            vectors[rows] = of_video
    if faults:
        raise VideosLeftOutError(faults)
    return vectors if vectors is not None else np.zeros((0, 1), np.float16)


def _rows_by_video(video_keys: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(video_keys):
        rows.setdefault(key, []).append(row)
    return {key: np.asarray(rows[key], np.int64) for key in sorted(rows)}


def _checked(
    vectors: npt.NDArray[np.float16], encoder: EncoderRole, video_key: str, remedy: Callable[[], str]
) -> npt.NDArray[np.float16]:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    is_unit = np.abs(lengths - 1) <= _LENGTH_TOLERANCE  # false for NaN
    if not np.all(is_unit):
        raise PermanentError(
            f"embeddings of {video_key} from {encoder.name} are not unit vectors ({np.count_nonzero(~is_unit)} of "
            f"{len(vectors)}, the first of length {lengths[~is_unit][0]:.4g}); the model is broken, or half precision "
            f"overflowed; choose a different platform.models.device, such as cpu, then {remedy()}"
        )
    return vectors


def _remedy(platform: Platform, encoder: EncoderRole, video_key: str) -> str:
    """Return how to have a video's vectors computed again. A change of device alone does not make them stale."""
    if encoder.name == platform.models.filter_encoder.name:
        return (
            "run `data-miner backfill --asset frame_embeddings --project PROJECT --force --keys-file FILE`, where FILE "
            f"contains {video_key}"
        )
    return f"remove {platform.layout.embedding_file(encoder.name, video_key)} to have them computed again"
