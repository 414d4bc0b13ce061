"""The embedding pipeline: images are decoded in threads while the model runs, whole batches across video borders.

Belongs here: batching, overlap, bounded queues, what to do when memory runs out. Does not belong here: where images
come from and where vectors go (operations/embedding.py), the models.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.protocols.encoders import ImageEncoder

Frame = TypeVar("Frame")

PREFETCHED_BATCHES: Final = 2
"""Batches decoded ahead of the one in the model: one would leave the model waiting for the slowest image."""


class FrameLoadError(ValueError):
    """One image cannot be read; the message says why. The pipeline goes on without it."""


@dataclass(frozen=True, slots=True)
class EmbeddedFrame(Generic[Frame]):
    """What became of one frame: its (D,) unit vector, or None and the problem."""

    frame: Frame
    vector: Float32Array | None
    problem: str = ""


def embed_in_batches(
    encoder: ImageEncoder,
    frames: Iterable[Frame],
    load: Callable[[Frame], RgbImage],
    *,
    batch_size: int,
    decode_threads: int,
    max_batch_bytes: int,
) -> Generator[EmbeddedFrame[Frame], None, None]:
    """Yield every frame with its vector, in the order given. Closing the generator ends its threads.

    `frames` is read in the caller's thread and never further ahead than `PREFETCHED_BATCHES` batches; `load` and the
    encoder's `preprocess` run in threads. Memory: at most `PREFETCHED_BATCHES + 1` batches of preprocessed images.
    A batch that does not fit the device's memory is halved, and stays halved for the rest.

    Args:
        encoder: gives the vectors.
        frames: may be endless.
        load: returns a frame's image, at any size not below the encoder's `input_side`; raises FrameLoadError.
        batch_size: images per forward pass, at most.
        decode_threads: threads that load and preprocess.
        max_batch_bytes: a batch's preprocessed images take at most this much memory, but for a single image.
    """
    source = iter(frames)
    waiting: deque[tuple[Frame, Future[npt.NDArray[Any] | FrameLoadError]]] = deque()
    runner = _BatchRunner(encoder, batch_size, max_batch_bytes)

    def prepare(frame: Frame) -> npt.NDArray[Any] | FrameLoadError:
        try:
            return encoder.preprocess(load(frame))
        except FrameLoadError as error:
            return error

    with ThreadPoolExecutor(decode_threads, thread_name_prefix="decode") as pool:

        def fill() -> None:
            while len(waiting) < PREFETCHED_BATCHES * runner.batch_size:
                frame = next(source, None)
                if frame is None:
                    return
                waiting.append((frame, pool.submit(prepare, frame)))

        try:
            fill()
            while waiting:
                taken: list[tuple[Frame, npt.NDArray[Any] | FrameLoadError]] = []
                while waiting and len(taken) < runner.batch_size:
                    frame, future = waiting.popleft()
                    taken.append((frame, future.result()))
                    runner.fit(taken[-1][1])
                fill()  # before the model runs, so that the threads have work meanwhile
                arrays = [array for _, array in taken if not isinstance(array, FrameLoadError)]
                vectors = iter(runner.run(arrays))
                for frame, array in taken:
                    if isinstance(array, FrameLoadError):
                        yield EmbeddedFrame(frame, None, str(array))
                    else:
                        yield EmbeddedFrame(frame, next(vectors))
        finally:
            for _, future in waiting:
                future.cancel()


class _BatchRunner:
    """Runs the model in batches that fit, and remembers what fits."""

    def __init__(self, encoder: ImageEncoder, batch_size: int, max_batch_bytes: int) -> None:
        self._encoder = encoder
        self._max_batch_bytes = max_batch_bytes
        self.batch_size = batch_size

    def fit(self, array: npt.NDArray[Any] | FrameLoadError) -> None:
        """Take the size of a preprocessed image into account."""
        if not isinstance(array, FrameLoadError) and array.nbytes:
            self.batch_size = max(1, min(self.batch_size, self._max_batch_bytes // array.nbytes))

    def run(self, arrays: list[npt.NDArray[Any]]) -> Iterator[Float32Array]:
        """Yield one vector an array, in order."""
        start = 0
        while start < len(arrays):
            part = arrays[start : start + self.batch_size]
            try:
                vectors = self._encoder.embed_batch(np.stack(part))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or len(part) == 1:
                    raise
                self.batch_size = len(part) // 2
                continue
            yield from vectors
            start += len(part)


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
