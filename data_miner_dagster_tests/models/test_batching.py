from collections.abc import Sequence

import pytest
import torch

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.batching import run_in_halves


def test_run_in_halves__nothing() -> None:
    assert run_in_halves(list, [], model="m") == []


def test_run_in_halves__until_it_fits() -> None:
    tried: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return [-number for number in batch]

    assert run_in_halves(run, [1, 2, 3, 4, 5], model="m") == [-1, -2, -3, -4, -5]
    assert tried == [5, 2, 3, 1, 2]


def test_run_in_halves__not_even_one() -> None:
    def run(_batch: Sequence[int]) -> list[int]:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.")

    with pytest.raises(ModelError, match="model m: the device does not have enough memory for one image"):
        run_in_halves(run, [1, 2, 3], model="m")


def test_run_in_halves__other_errors_are_not_swallowed() -> None:
    tried: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run_in_halves(run, [1, 2], model="m")
    assert tried == [2]
