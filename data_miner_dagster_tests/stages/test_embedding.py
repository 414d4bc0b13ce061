import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.records import Float32Array, RgbImage, SimilarityCalibration
from data_miner_dagster.stages.embedding import (
    PREFETCHED_BATCHES,
    Batching,
    EmbeddedFrame,
    embed_images,
    embed_in_batches,
    is_out_of_memory,
)
from data_miner_dagster_tests.support.waiting import wait_until


class LevelEncoder:
    """Maps a grey level to a point on the unit circle, and records the sizes of its batches."""

    name = "level"
    fingerprint = "level-1"
    embedding_dim = 2
    input_side = 4
    calibration = SimilarityCalibration(0.5, 0.9)

    def __init__(self, fits: int = 10**9) -> None:
        self.fits = fits
        self.batch_sizes: list[int] = []

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        return image[:4, :4].astype(np.float32)

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        if len(batch) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        self.batch_sizes.append(len(batch))
        angles = batch.reshape(len(batch), -1).mean(axis=1) / 255
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


FOURS = Batching(batch_size=4, decode_threads=2, max_batch_bytes=1 << 30)


def _grey(level: int) -> RgbImage:
    if level == 13:
        raise UnreadableImageError("frame 13 is damaged")
    return np.full((8, 8, 3), level, np.uint8)


def _embed(
    encoder: LevelEncoder, levels: Iterator[int] | range, *, batch_size: int = 4, max_batch_bytes: int = 1 << 30
) -> list[EmbeddedFrame[int]]:
    return list(
        embed_in_batches(
            encoder,
            levels,
            _grey,
            Batching(batch_size=batch_size, decode_threads=2, max_batch_bytes=max_batch_bytes),
        )
    )


def test_embed_in_batches__no_frames() -> None:
    encoder = LevelEncoder()
    assert _embed(encoder, range(0)) == []
    assert encoder.batch_sizes == []


def test_embed_in_batches__equals_one_by_one_in_order() -> None:
    results = _embed(LevelEncoder(), range(20, 31))
    assert [result.frame for result in results] == list(range(20, 31))
    for result in results:
        assert result.vector is not None
        np.testing.assert_allclose(result.vector, embed_images(LevelEncoder(), [_grey(result.frame)])[0], atol=1e-6)


def test_embed_in_batches__last_batch_is_smaller() -> None:
    encoder = LevelEncoder()
    _embed(encoder, range(20, 31))
    assert encoder.batch_sizes == [4, 4, 3]


def test_embed_in_batches__a_batch_is_of_one_group() -> None:
    encoder = LevelEncoder()
    batching = Batching(batch_size=4, decode_threads=2, max_batch_bytes=1 << 30)
    results = list(embed_in_batches(encoder, range(20, 33), _grey, batching, group_of=lambda level: level // 6))
    assert [result.frame for result in results] == list(range(20, 33))
    assert encoder.batch_sizes == [4, 4, 2, 3]  # 20..23, then 24..29, then 30..32


def test_embed_in_batches__damaged_frame_keeps_its_place_and_holds_up_nobody() -> None:
    results = _embed(LevelEncoder(), range(10, 17))
    assert [result.frame for result in results if result.vector is None] == [13]
    assert str(results[3].error) == "frame 13 is damaged"
    assert [result.frame for result in results] == list(range(10, 17))


def test_embed_in_batches__only_damaged_frames() -> None:
    encoder = LevelEncoder()
    results = _embed(encoder, iter([13, 13]))
    assert [result.vector for result in results] == [None, None]
    assert encoder.batch_sizes == []


def test_embed_in_batches__out_of_memory_halves_the_batch_and_stays_there() -> None:
    encoder = LevelEncoder(fits=3)
    results = _embed(encoder, range(20, 40), batch_size=8)
    assert [result.frame for result in results] == list(range(20, 40))
    assert all(result.vector is not None for result in results)
    assert max(encoder.batch_sizes) <= 3
    assert sum(encoder.batch_sizes) == 20
    assert encoder.batch_sizes[0] == 2  # batches of 8 and 4 did not fit


def test_embed_in_batches__not_even_one_image_fits() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        _embed(LevelEncoder(fits=0), range(20, 22))


def test_embed_in_batches__other_errors_of_the_model_are_not_swallowed() -> None:
    class Broken(LevelEncoder):
        def embed_batch(self, _batch: npt.NDArray[Any]) -> Float32Array:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        _embed(Broken(), range(20, 22))


def test_embed_in_batches__what_the_model_refuses_of_one_frame_is_that_frame_s() -> None:
    class Choosy(LevelEncoder):
        def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
            if np.any(batch == batch.dtype.type(_grey(22)[0, 0, 0])):
                raise ZeroDivisionError("planted")
            return super().embed_batch(batch)

    encoder = Choosy()
    results = list(
        embed_in_batches(
            encoder,
            range(20, 28),
            _grey,
            FOURS,
            is_of_frame=lambda error: isinstance(error, ZeroDivisionError),
        )
    )
    assert [result.frame for result in results] == list(range(20, 28))
    assert [result.frame for result in results if result.vector is None] == [22]
    assert isinstance(results[2].error, ZeroDivisionError)
    assert encoder.batch_sizes == [1, 1, 1, 1, 4]  # 20, 21, 21 again because 22 was refused, 23, and the rest


def test_embed_in_batches__batches_are_sized_by_memory() -> None:
    encoder = LevelEncoder()
    _embed(encoder, range(20, 30), batch_size=8, max_batch_bytes=2 * 4 * 4 * 3 * 4)
    assert set(encoder.batch_sizes) == {2}


def test_embed_in_batches__reads_no_further_ahead_than_promised() -> None:
    asked: list[int] = []

    def endless() -> Iterator[int]:
        level = 20
        while True:
            asked.append(level)
            yield level
            level = 20 + (level - 19) % 200

    stream = embed_in_batches(LevelEncoder(), endless(), _grey, FOURS)
    for count in range(1, 50):
        next(stream)
        batches = (count - 1) // 4 + 1
        assert len(asked) <= 4 * (batches + PREFETCHED_BATCHES)
    stream.close()


def test_embed_in_batches__decodes_while_the_model_runs() -> None:
    in_model = threading.Event()
    overlapped = threading.Event()

    class Slow(LevelEncoder):
        def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
            in_model.set()
            assert overlapped.wait(60), "no image was loaded while the model ran"
            return super().embed_batch(batch)

    def load(level: int) -> RgbImage:
        if level == 28:  # the first of the third batch, which is submitted only when the first batch enters the model
            assert in_model.wait(60)
            overlapped.set()
        return _grey(level)

    stream = embed_in_batches(Slow(), range(20, 36), load, FOURS)
    assert len(list(stream)) == 16


def test_embed_in_batches__abandoned_stream_ends_its_threads() -> None:
    stream = embed_in_batches(LevelEncoder(), range(20, 200), _grey, FOURS)
    next(stream)
    stream.close()
    wait_until(lambda: not any(thread.name.startswith("decode") for thread in threading.enumerate()))


def test_is_out_of_memory__what_the_allocators_really_raise() -> None:
    for allocate in (lambda: torch.empty(1 << 60, dtype=torch.uint8), lambda: np.empty(1 << 60, np.uint8)):
        with pytest.raises((RuntimeError, MemoryError)) as raised:
            allocate()
        assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:115] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."), True),
        (RuntimeError("shape '[2]' is invalid for input of size 3"), False),
        (ValueError("not enough values"), False),
    ],
)
def test_is_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
