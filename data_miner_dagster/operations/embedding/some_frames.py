"""Compute the missing vectors of chosen frames, for encoders that a project needs for only some of its frames.

Does not belong here: embedding whole videos (embed_frames.py).
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import DamagedFileError, PermanentError
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.embedding.encoding import encode_tasks
from data_miner_dagster.operations.embedding.tasks import EmbeddingTask, frames_of
from data_miner_dagster.operations.foreign.stored_pictures import remedy_for_image
from data_miner_dagster.operations.item_faults import ItemFault, ItemGuard, item_guard
from data_miner_dagster.operations.left_out import VideosLeftOutError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.alignment import rows_of_indices
from data_miner_dagster.storage.frames import sound_frames_identity
from data_miner_dagster.storage.vectors import StoredEmbeddings, read_embeddings, write_embeddings

logger = logging.getLogger(__name__)


def ensure_embeddings(platform: Platform, encoder: EncoderRole, frames: Mapping[str, Sequence[int]]) -> int:
    """Compute and store the missing vectors of frames. Return how many were computed.

    `frames` maps video keys to frame indices. Current vectors of other frames in these videos are kept. Only videos
    with missing vectors are claimed.

    Raises:
        VideosLeftOutError: some videos could not be embedded, for example because a named frame does not exist or its
            image is damaged. The other videos are done.
        ModelError: the encoder is missing, or differs from the pinned one.
        DamagedFileError: the frame table of a video is damaged.
    """
    with item_guard("embedding for a project") as guard:
        chosen = _ChosenFrames(platform, encoder, guard, frames)
        encode_tasks(platform, chosen.open(), encoder, chosen.close)
    if chosen.faults:
        raise VideosLeftOutError(chosen.faults)
    return chosen.num_made


class _ChosenFrames:
    """The frames of one call, by video. Videos with missing vectors are opened under their claims."""

    def __init__(
        self, platform: Platform, encoder: EncoderRole, guard: ItemGuard, frames: Mapping[str, Sequence[int]]
    ) -> None:
        self.faults: dict[str, ItemFault] = {}
        self.num_made = 0
        self._platform = platform
        self._encoder = encoder
        self._guard = guard
        self._frames = frames

    def open(self) -> Iterator[EmbeddingTask]:
        """Yield the task of each video that lacks vectors."""
        for key in sorted(self._frames):
            planned = self._guard.attempt(
                key, partial(self._planned, key), partial(self.faults.__setitem__, key), proves=False
            )
            if planned is not None:
                yield planned
            elif key not in self.faults and not self._guard.holds(key):
                self._guard.succeed()  # its vectors exist

    def close(self, task: EmbeddingTask) -> None:
        """Write the file of a video whose last frame is done."""
        key = task.video_key
        self._guard.attempt(key, partial(self._write, task), partial(self.faults.__setitem__, key))

    def _planned(self, key: str) -> EmbeddingTask | None:
        plan = partial(_plan_some_frames, self._platform, self._encoder, key, self._frames[key])
        if plan() is None:
            return None
        with ExitStack() as stack:
            claim = stack.enter_context(self._platform.hold_video(key))
            planned = plan()  # another worker may have computed the vectors
            if planned is not None:
                planned.claim = stack.pop_all()
                planned.publishing = partial(self._platform.publishing_under, claim)
            return planned

    def _write(self, task: EmbeddingTask) -> None:
        with task.claim, task.publishing():
            if task.fault is not None:
                raise task.fault
            if task.problems:
                raise PermanentError(f"{task.problems[0]}; {remedy_for_image('PROJECT', task.video_key)}")
            write_embeddings(task.target, task.stored(self._encoder.load().embedding_dim))
            self.num_made += len(task.wanted)


def load_vectors(
    platform: Platform, encoder: EncoderRole, video_key: str, frame_indices: Sequence[int]
) -> Float32Array:
    """Return the (N, D) float32 unit vectors of a video's frames, in the order of `frame_indices`.

    Raises:
        PermanentError: the video's frames are missing, or one of them has no current vector. Call
            `ensure_embeddings` first.
    """
    vectors = load_stored(platform, encoder, video_key, frame_indices).astype(np.float32)
    # Rounding to float16 changes lengths by up to 1e-3.
    units: Float32Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return units


def load_stored(
    platform: Platform, encoder: EncoderRole, video_key: str, frame_indices: Sequence[int]
) -> npt.NDArray[np.float16]:
    """Return the (N, D) stored float16 vectors of a video's frames, in the order of `frame_indices`.

    Raises:
        PermanentError: the video's frames are missing, or one of them has no current vector. Call
            `ensure_embeddings` first.
    """
    stored = _current(platform, encoder, video_key)
    remedy = (
        "run `data-miner backfill --asset frame_embeddings --project PROJECT --force --keys-file FILE`, where FILE "
        f"contains {video_key}"
    )
    if stored is None:
        raise PermanentError(f"{video_key} has no current embeddings from {encoder.name}; {remedy}")
    rows = rows_of_indices(
        np.asarray(frame_indices, np.int32),
        stored.frame_indices,
        table=f"the embeddings file of {video_key} from {encoder.name}",
        remedy=remedy,
    )
    return np.asarray(stored.vectors[rows], np.float16)


def _plan_some_frames(
    platform: Platform, encoder: EncoderRole, video_key: str, frame_indices: Sequence[int]
) -> EmbeddingTask | None:
    """Return the task of computing a video's missing vectors for `frame_indices`, or None if all of them exist."""
    target = platform.layout.embedding_file(encoder.name, video_key)
    whole = _whole_fingerprint(platform, encoder, video_key)
    known = _current(platform, encoder, video_key)
    wanted = np.unique(np.asarray(frame_indices, np.int32))
    if known is not None:
        wanted = np.setdiff1d(wanted, known.frame_indices)
        if not len(wanted):
            return None
    fingerprint = whole if known is not None and known.fingerprint == whole else _partial_fingerprint(whole)
    task = EmbeddingTask(video_key, target, fingerprint, known=known)
    task.wanted = frames_of(platform, task, {int(index) for index in wanted})
    return task


def _whole_fingerprint(platform: Platform, encoder: EncoderRole, video_key: str) -> str:
    frames = sound_frames_identity(platform.layout, video_key)
    if frames is None:
        raise PermanentError(
            f"the frames of {video_key} are missing; run `data-miner doctor --fix` to have them recreated"
        )
    return embeddings_fingerprint_of(frames.fingerprint, encoder.fingerprint)


def _partial_fingerprint(whole: str) -> str:
    """Return the fingerprint for a file with only some frames, so that code that needs all frames ignores it."""
    return fingerprint_of({"some_of": whole})


def _current(platform: Platform, encoder: EncoderRole, video_key: str) -> StoredEmbeddings | None:
    whole = _whole_fingerprint(platform, encoder, video_key)
    try:
        stored = read_embeddings(platform.layout.embedding_file(encoder.name, video_key))
    except DamagedFileError as error:  # the file is replaced, as if it were missing
        logger.warning("%s; the file counts as missing", str(error).partition(";")[0])
        return None
    return stored if stored is not None and stored.fingerprint in (whole, _partial_fingerprint(whole)) else None
