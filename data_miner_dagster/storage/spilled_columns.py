"""Columns that are collected once and then read in random order, without being held in memory.

Each column is in an unnamed temporary file, which disappears with the process. The files are memory-mapped, so only the
parts in use are read.
"""

import tempfile
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
import numpy.typing as npt


class SpilledColumns:
    """Columns of given types, collected part by part.

    It is a context manager that closes the files on exit. Arrays from `mapped` stay valid afterwards.
    """

    def __init__(self, *dtypes: npt.DTypeLike) -> None:
        self._dtypes = [np.dtype(dtype) for dtype in dtypes]
        self._lengths = [0] * len(dtypes)
        self._opened = ExitStack()
        self._files = [self._opened.enter_context(tempfile.TemporaryFile(prefix="data_miner-")) for _ in dtypes]  # noqa: SIM115

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._opened.close()

    def add(self, *parts: npt.NDArray[Any]) -> None:
        """Append one array of values to each column, in the order of the columns."""
        for index, values in enumerate(parts):
            self._files[index].write(np.ascontiguousarray(values, self._dtypes[index]).tobytes())
            self._lengths[index] += len(values)

    def mapped(self) -> list[npt.NDArray[Any]]:
        """Return each column as a read-only, memory-mapped array, or as an ordinary array if the column is empty."""
        return [self._mapped(index) for index in range(len(self._files))]

    def _mapped(self, index: int) -> npt.NDArray[Any]:
        self._files[index].flush()
        if not self._lengths[index]:
            return np.zeros(0, self._dtypes[index])  # an empty file cannot be mapped
        return np.memmap(self._files[index], self._dtypes[index], mode="r", shape=(self._lengths[index],))
