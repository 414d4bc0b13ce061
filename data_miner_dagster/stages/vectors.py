"""Exact arithmetic on stored vectors, shared by the stages that compare frames."""

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array

Float16Array = npt.NDArray[np.float16]
Float64Array = npt.NDArray[np.float64]


def exact_cosines(left: Float16Array, right: Float16Array) -> Float64Array:
    """Return the (P,) cosines of P pairs of rows.

    A float16 of at most 1 is a multiple of 2^-24, so the product of two such numbers is a multiple of 2^-48. Sums of
    such products below 32 fit the 53 bits of a float64. Dot products and squared norms of unit vectors are therefore
    exact in any order of addition. The remaining operations (one product, one root, one division) round the same way
    everywhere. Equal rows have a cosine of exactly 1, except that a row of zeros has a cosine of 0 with everything.
    """
    a, b = left.astype(np.float64), right.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    cosines = np.zeros(len(left), np.float64)
    np.divide(np.einsum("ij,ij->i", a, b), norms, out=cosines, where=norms > 0)
    return cosines


def unit_rows(vectors: Float16Array) -> Float32Array:
    """Return the rows in float32, scaled to length 1. A row of zeros remains zero."""
    rows = vectors.astype(np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    rows /= np.where(norms > 0, norms, 1)[:, None].astype(np.float32)
    return rows
