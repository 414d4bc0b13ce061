"""Cosines do not depend on the order of components or of arguments."""

import numpy as np
import numpy.typing as npt
import pytest

from data_miner_dagster.stages.vectors import exact_cosines, unit_rows

Float16Array = npt.NDArray[np.float16]


def halves(*rows: list[float]) -> Float16Array:
    """Return the rows as float16."""
    return np.asarray(rows, np.float16)


def random_units(num: int, dimension: int, seed: int) -> Float16Array:
    """Return random unit vectors."""
    rows = np.random.default_rng(seed).standard_normal((num, dimension))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float16)


def test_exact_cosines__does_not_depend_on_the_order_of_the_components() -> None:
    left, right = random_units(50, 1280, seed=5), random_units(50, 1280, seed=6)
    order = np.random.default_rng(0).permutation(1280)
    assert exact_cosines(left, right).tolist() == exact_cosines(left[:, order], right[:, order]).tolist()
    assert exact_cosines(left, right).tolist() == exact_cosines(right, left).tolist()
    assert exact_cosines(left, left).tolist() == [1.0] * 50


def test_exact_cosines__zero_rows_resemble_nothing() -> None:
    assert exact_cosines(halves([0, 0], [0, 0]), halves([1, 0], [0, 0])).tolist() == [0.0, 0.0]


def test_unit_rows__length_one() -> None:
    assert np.linalg.norm(unit_rows(halves([3, 4], [0.001, 0])), axis=1) == pytest.approx([1, 1])
