"""Keep track of the frames of one video that are being embedded, and of their results so far."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import PermanentError, UnreadableImageError
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.records import Float32Array, PictureFile
from data_miner_dagster.operations.item_faults import log_fault
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.frames import read_frame_images
from data_miner_dagster.storage.vectors import StoredEmbeddings


@dataclass(frozen=True, slots=True)
class FrameToEmbed:
    """One frame to encode, with the task that it belongs to."""

    task: "EmbeddingTask"
    frame_index: int
    picture: PictureFile
    sha256: str


@dataclass(slots=True)
class EmbeddingTask:
    """One video whose vectors are being computed, while its claim is held."""

    video_key: str
    target: Path  # the file to write
    fingerprint: str  # the fingerprint to store in that file
    wanted: list[FrameToEmbed] = field(default_factory=list)
    known: StoredEmbeddings | None = None  # stored vectors of other frames, which the file keeps, or None
    claim: ExitStack = field(default_factory=ExitStack)
    publishing: Callable[[], AbstractContextManager[None]] = nullcontext  # files are written inside it, under the claim
    vectors: list[npt.NDArray[np.float16]] = field(default_factory=list)
    frame_indices: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # one line for each frame that could not be embedded
    fault: Exception | None = None  # the first unexpected exception of a frame
    num_seen: int = 0  # frames whose result was added

    def add(self, frame_index: int, vector: Float32Array | None, error: Exception | None) -> None:
        """Add the result of a frame: a vector or an error."""
        self.num_seen += 1
        if vector is not None:
            self.frame_indices.append(frame_index)
            self.vectors.append(vector.astype(np.float16))
        elif error is None or isinstance(error, UnreadableImageError):
            self.problems.append(str(error))
        else:
            self.fault = self.fault or error
            self.problems.append(log_fault("embedding", make_frame_id(self.video_key, frame_index), error).line)

    def stored(self, embedding_dim: int) -> StoredEmbeddings:
        """Return the new content of the video's file: the known and the new vectors, by ascending frame index."""
        vectors = np.stack(self.vectors) if self.vectors else np.zeros((0, embedding_dim), np.float16)
        indices = np.asarray(self.frame_indices, np.int32)
        if self.known is not None:
            indices = np.concatenate([self.known.frame_indices, indices])
            vectors = np.concatenate([self.known.vectors, vectors])
            order = np.argsort(indices, kind="stable")
            indices, vectors = indices[order], vectors[order]
        return StoredEmbeddings(indices, vectors, self.fingerprint)


def frames_of(platform: Platform, task: EmbeddingTask, only: set[int] | None) -> list[FrameToEmbed]:
    """Return the frames of a task's video, by ascending index.

    If `only` is given, frames with other indices are omitted.

    Raises:
        PermanentError: a frame with an index in `only` does not exist.
    """
    frames = [
        FrameToEmbed(task, index, image.file, image.sha256)
        for index, image in read_frame_images(platform.layout, task.video_key).items()
        if only is None or index in only
    ]
    if only is not None and len(frames) != len(only):
        absent = min(only - {frame.frame_index for frame in frames})
        raise PermanentError(
            f"frame {make_frame_id(task.video_key, absent)} does not exist; run `data-miner run --config FILE` to "
            "filter its project again"
        )
    return frames
