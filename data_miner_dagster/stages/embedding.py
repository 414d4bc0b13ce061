"""The embedding pipeline: images are decoded in threads while the model runs, whole batches across video borders.

Belongs here: batching, overlap, bounded queues, what to do when memory runs out. Does not belong here: where images
come from and where vectors go (operations/embedding/encoding.py), the models.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.protocols.encoders import ImageEncoder

Frame = TypeVar("Frame")

PREFETCHED_BATCHES: Final = 2
"""Batches decoded ahead of the one in the model: one would leave the model waiting for the slowest image."""


@dataclass(frozen=True, slots=True)
class EmbeddedFrame(Generic[Frame]):
    """What became of one frame: its (D,) unit vector, or None and the error."""

    frame: Frame
    vector: Float32Array | None
    error: Exception | None = None


def embed_images(encoder: ImageEncoder, images: Sequence[RgbImage]) -> Float32Array:
    """Return (N, embedding_dim) unit vectors of whole images, all in one batch: for a handful of images."""
    if not images:
        return np.zeros((0, encoder.embedding_dim), np.float32)
    return encoder.embed_batch(np.stack([encoder.preprocess(image) for image in images]))


@dataclass(frozen=True, slots=True)
class Batching:
    """How images are brought together for the model."""

    batch_size: int  # images per forward pass, at most
    decode_threads: int  # that load and preprocess
    max_batch_bytes: int  # of a batch's preprocessed images, at most, but for a single image


def embed_in_batches(
    encoder: ImageEncoder,
    frames: Iterable[Frame],
    load: Callable[[Frame], RgbImage],
    batching: Batching,
    *,
    is_of_frame: Callable[[Exception], bool] = lambda _error: False,
) -> Generator[EmbeddedFrame[Frame], None, None]:
    """Yield every frame with its vector, in the order given. Closing the generator ends its threads.

    `frames` is read in the caller's thread and never further ahead than `PREFETCHED_BATCHES` batches; `load` and the
    encoder's `preprocess` run in threads. Memory: at most `PREFETCHED_BATCHES + 1` batches of preprocessed images.
    A batch that does not fit the device's memory is halved, and stays halved for the rest.

    Args:
        encoder: gives the vectors.
        frames: may be endless.
        load: returns a frame's image, at any size not below the encoder's `input_side`; raises UnreadableImageError.
        batching: how large a batch may be, and how many threads prepare it.
        is_of_frame: whether another error than UnreadableImageError, met with a frame, is that frame's alone. A batch
            that the model refuses so is put through it again, frame by frame, unless it refuses by now what it took
            before.
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

    with ThreadPoolExecutor(batching.decode_threads, thread_name_prefix="decode") as pool:
        ahead = _PreparedAhead(iter(frames), lambda frame: pool.submit(prepare, frame))
        try:
            ahead.fill(PREFETCHED_BATCHES * runner.batch_size)
            while ahead.waiting:
                taken = ahead.take(runner)
                ahead.fill(PREFETCHED_BATCHES * runner.batch_size)  # the threads have work while the model runs
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
    """Frames whose images are being loaded and preprocessed by threads, in order."""

    def __init__(
        self, frames: Iterator[Frame], submit: Callable[[Frame], Future[npt.NDArray[Any] | Exception]]
    ) -> None:
        self._frames = frames
        self._submit = submit
        self.waiting: deque[tuple[Frame, Future[npt.NDArray[Any] | Exception]]] = deque()

    def fill(self, num_frames: int) -> None:
        """Submit frames until this many wait, or none is left."""
        while len(self.waiting) < num_frames:
            frame = next(self._frames, None)
            if frame is None:
                return
            self.waiting.append((frame, self._submit(frame)))

    def take(self, runner: "_BatchRunner") -> list[tuple[Frame, npt.NDArray[Any] | Exception]]:
        """Return the next batch, once its images are ready."""
        taken: list[tuple[Frame, npt.NDArray[Any] | Exception]] = []
        while self.waiting and len(taken) < runner.batch_size:
            frame, future = self.waiting.popleft()
            taken.append((frame, future.result()))
            runner.fit(taken[-1][1])
        return taken

    def cancel(self) -> None:
        """Give up what no thread has begun."""
        for _, future in self.waiting:
            future.cancel()


class _BatchRunner:
    """Runs the model in batches that fit, and remembers what fits."""

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
        self._proven: npt.NDArray[Any] | None = None  # the model took this one

    def fit(self, array: npt.NDArray[Any] | Exception) -> None:
        """Take the size of a preprocessed image into account."""
        if not isinstance(array, Exception) and array.nbytes:
            self.batch_size = max(1, min(self.batch_size, self._max_batch_bytes // array.nbytes))

    def run(self, arrays: list[npt.NDArray[Any]]) -> Iterator[Float32Array | Exception]:
        """Yield one vector an array, in order, or the error that is its own."""
        start = 0
        while start < len(arrays):
            part = arrays[start : start + self.batch_size]
            try:
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
                vector = self._encoder.embed_batch(array[np.newaxis])[0]
            except Exception as error:
                if is_out_of_memory(error) or not self._is_of_frame(error):
                    raise
                if self._proven is not None:
                    self._encoder.embed_batch(self._proven[np.newaxis])  # raises if the model itself is at its end
                yield error
            else:
                self._proven = array
                yield vector


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a framework's error says that memory ran out, on the device or on the host.

    By name and words: this layer knows no framework. torch.OutOfMemoryError is a RuntimeError; its CPU allocator
    raises a plain one.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
        or "Failed to allocate memory" in str(error)
    )
