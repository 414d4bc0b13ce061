"""Columns that are collected once and then looked up at random, without being held in memory.

They lie in a temporary file without a name, which vanishes with the process, and are mapped: what is looked at is read.
"""

import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt


class SpilledColumn:
    """A column of one type, collected part by part."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._file = tempfile.TemporaryFile(prefix="data_miner-")  # noqa: SIM115 - the mapping outlives this object
        self._length = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Append values."""
        self._file.write(np.ascontiguousarray(values, self._dtype).tobytes())
        self._length += len(values)

    def mapped(self) -> npt.NDArray[Any]:
        """Return all values, read-only. Nothing can be added after that."""
        self._file.flush()
        if not self._length:
            return np.zeros(0, self._dtype)  # an empty file cannot be mapped
        values = np.memmap(self._file, self._dtype, mode="r", shape=(self._length,))
        self._file.close()
        return values
