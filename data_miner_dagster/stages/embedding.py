"""The embedding pipeline: threads decode images while the model runs. A batch never mixes images of two groups.

The last bits of a vector depend on the number of images in its batch. If a batch contained frames of several videos,
a video's vectors would depend on the other videos that happened to be embedded with it.

Belongs here: batching, overlap, bounded queues, handling out-of-memory errors. Does not belong here: the source of
images and the destination of vectors (operations/embedding/encoding.py), the models.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.at_work import InheritingThreads
from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.meters import for_current_meter, model_call
from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.protocols.encoders import ImageEncoder

Frame = TypeVar("Frame")

PREFETCHED_BATCHES: Final = 2
"""The number of batches to decode ahead of the one that the model is processing. With 1, the model would wait for the
slowest image.
"""


@dataclass(frozen=True, slots=True)
class EmbeddedFrame(Generic[Frame]):
    """The result for one frame: its (D,) unit vector, or None and the error."""

    frame: Frame
    vector: Float32Array | None
    error: Exception | None = None


def embed_images(encoder: ImageEncoder, images: Sequence[RgbImage]) -> Float32Array:
    """Return the (N, embedding_dim) unit vectors of whole images. All images form one batch, so pass only a few."""
    if not images:
        return np.zeros((0, encoder.embedding_dim), np.float32)
    return encoder.embed_batch(np.stack([encoder.preprocess(image) for image in images]))


@dataclass(frozen=True, slots=True)
class Batching:
    """The settings for batching images for the model."""

    batch_size: int  # maximum images per forward pass
    decode_threads: int  # threads that load and preprocess images
    max_batch_bytes: int  # maximum size of a batch's preprocessed images; a single image may exceed it


def embed_in_batches(
    encoder: ImageEncoder,
    frames: Iterable[Frame],
    load: Callable[[Frame], RgbImage],
    batching: Batching,
    *,
    group_of: Callable[[Frame], object] = lambda _frame: None,
    is_of_frame: Callable[[Exception], bool] = lambda _error: False,
) -> Generator[EmbeddedFrame[Frame], None, None]:
    """Yield every frame, in the given order, with its vector or its error. Closing the generator ends its threads.

    `frames` is read in the caller's thread, at most `PREFETCHED_BATCHES` batches ahead. `load` and the encoder's
    `preprocess` run in threads. Memory holds at most `PREFETCHED_BATCHES + 1` batches of preprocessed images. If memory
    runs out during a batch of several images, the batch is halved, and no later batch is larger than its half. Errors
    that do not concern a single frame are raised.

    Args:
        encoder: the encoder that computes the vectors.
        frames: the frames to embed. The iterable may be endless.
        load: a function that returns a frame's image, not smaller than the encoder's `input_side`, or raises
            UnreadableImageError.
        batching: the size of batches, and the number of threads that prepare them.
        group_of: a function that returns the group of a frame, such as its video. Frames of a group must be
            consecutive.
        is_of_frame: a function that returns whether an error other than UnreadableImageError concerns a single frame
            only. If the model raises such an error for a batch, the frames of the batch are run one by one. If the
            model then also fails on an image that it accepted before, the new error is raised.
    """
    runner = _BatchRunner(encoder, batching, is_of_frame)

    def prepare(frame: Frame) -> npt.NDArray[Any] | Exception:
        try:
            return encoder.preprocess(load(frame))
        except UnreadableImageError as error:
            return error
        except Exception as error:
            if not is_of_frame(error):
                raise
            return error

    metered = for_current_meter(prepare)
    with InheritingThreads(batching.decode_threads, thread_name_prefix="decode") as pool:
        ahead = _PreparedAhead(iter(frames), lambda frame: pool.submit(metered, frame), group_of)
        try:
            ahead.fill(PREFETCHED_BATCHES * runner.batch_size)
            while ahead.waiting:
                taken = ahead.take(runner)
                ahead.fill(PREFETCHED_BATCHES * runner.batch_size)  # keeps the threads busy while the model runs
                vectors = iter(runner.run([array for _, array in taken if not isinstance(array, Exception)]))
                for frame, array in taken:
                    result = array if isinstance(array, Exception) else next(vectors)
                    if isinstance(result, Exception):
                        yield EmbeddedFrame(frame, None, result)
                    else:
                        yield EmbeddedFrame(frame, result)
        finally:
            ahead.cancel()


class _PreparedAhead(Generic[Frame]):
    """Frames, in order, whose images are loaded and preprocessed by threads ahead of the model."""

    def __init__(
        self,
        frames: Iterator[Frame],
        submit: Callable[[Frame], Future[npt.NDArray[Any] | Exception]],
        group_of: Callable[[Frame], object],
    ) -> None:
        self._frames = frames
        self._submit = submit
        self._group_of = group_of
        self.waiting: deque[tuple[Frame, Future[npt.NDArray[Any] | Exception]]] = deque()

    def fill(self, num_frames: int) -> None:
        """Submit frames until `num_frames` are waiting or all have been submitted."""
        while len(self.waiting) < num_frames:
            frame = next(self._frames, None)
            if frame is None:
                return
            self.waiting.append((frame, self._submit(frame)))

    def take(self, runner: "_BatchRunner") -> list[tuple[Frame, npt.NDArray[Any] | Exception]]:
        """Wait for the next batch of one group, and return its frames, each with its preprocessed image or error."""
        taken: list[tuple[Frame, npt.NDArray[Any] | Exception]] = []
        group = self._group_of(self.waiting[0][0])
        while self.waiting and len(taken) < runner.batch_size and self._group_of(self.waiting[0][0]) == group:
            frame, future = self.waiting.popleft()
            taken.append((frame, future.result()))
            runner.fit(taken[-1][1])
        return taken

    def cancel(self) -> None:
        """Cancel the frames that no thread has started to load."""
        for _, future in self.waiting:
            future.cancel()


class _BatchRunner:
    """Runs the model in batches, and reduces their size when memory runs out."""

    def __init__(
        self,
        encoder: ImageEncoder,
        batching: Batching,
        is_of_frame: Callable[[Exception], bool],
    ) -> None:
        self._encoder = encoder
        self._is_of_frame = is_of_frame
        self._max_batch_bytes = batching.max_batch_bytes
        self.batch_size = batching.batch_size
        self._proven: npt.NDArray[Any] | None = None  # an image that the model accepted

    def fit(self, array: npt.NDArray[Any] | Exception) -> None:
        """Reduce the batch size if batches of images this large would exceed the byte limit."""
        if not isinstance(array, Exception) and array.nbytes:
            self.batch_size = max(1, min(self.batch_size, self._max_batch_bytes // array.nbytes))

    def run(self, arrays: list[npt.NDArray[Any]]) -> Iterator[Float32Array | Exception]:
        """Yield, for each array in order, its vector or the error that concerns it alone. Other errors are raised."""
        start = 0
        while start < len(arrays):
            part = arrays[start : start + self.batch_size]
            try:
                with model_call(self._encoder):
                    vectors = self._encoder.embed_batch(np.stack(part))
            except Exception as error:
                if is_out_of_memory(error) and len(part) > 1:
                    self.batch_size = len(part) // 2
                    continue
                if is_out_of_memory(error) or not self._is_of_frame(error):
                    raise
                yield from self._one_by_one(part)
            else:
                self._proven = part[0]
                yield from vectors
            start += len(part)

    def _one_by_one(self, arrays: list[npt.NDArray[Any]]) -> Iterator[Float32Array | Exception]:
        for array in arrays:
            try:
                with model_call(self._encoder):
                    vector = self._encoder.embed_batch(array[np.newaxis])[0]
            except Exception as error:
                if is_out_of_memory(error) or not self._is_of_frame(error):
                    raise
                if self._proven is not None:
                    self._encoder.embed_batch(self._proven[np.newaxis])  # raises if the model itself is broken
                yield error
            else:
                self._proven = array
                yield vector


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a framework's error reports that memory ran out, on the device or on the host.

    Names and messages are compared because this layer imports no framework. torch.OutOfMemoryError is a RuntimeError,
    and torch's CPU allocator raises a plain RuntimeError.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
        or "Failed to allocate memory" in str(error)
    )
