"""Read the state of the machine's disk, and of its GPUs if it has an NVIDIA driver."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GpuValues:
    """The state of one GPU. A value is None if the driver does not provide it, as for a GPU divided with MIG."""

    name: str  # its number in CUDA, with CUDA_DEVICE_ORDER=PCI_BUS_ID
    memory_used_bytes: int | None
    memory_size_bytes: int | None
    utilization: float | None  # from 0 to 1
    model: str | None
    driver: str | None


def disk_values(root: Path) -> tuple[int, int]:
    """Return the free space and the size of the disk that contains a folder, both in bytes.

    If the folder is missing, the nearest existing folder above it is used.
    """
    while not root.exists() and root != root.parent:
        root = root.parent
    usage = shutil.disk_usage(root)
    return usage.free, usage.total


def gpu_values() -> Sequence[GpuValues]:
    """Return the state of all NVIDIA GPUs, or an empty sequence if the driver or the package `pynvml` is missing."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()

    def known(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except pynvml.NVMLError:
            return None

    try:
        driver = known(lambda: _text(pynvml.nvmlSystemGetDriverVersion()))
        found = []
        for index in range(known(pynvml.nvmlDeviceGetCount) or 0):
            device = known(partial(pynvml.nvmlDeviceGetHandleByIndex, index))
            if device is None:  # for example, it has failed, or belongs to another container
                continue
            memory = known(partial(pynvml.nvmlDeviceGetMemoryInfo, device))
            rates = known(partial(pynvml.nvmlDeviceGetUtilizationRates, device))
            model = known(partial(pynvml.nvmlDeviceGetName, device))
            found.append(
                GpuValues(
                    name=str(index),
                    memory_used_bytes=None if memory is None else int(memory.used),
                    memory_size_bytes=None if memory is None else int(memory.total),
                    utilization=None if rates is None else rates.gpu / 100,
                    model=None if model is None else _text(model),
                    driver=driver,
                )
            )
        return found
    finally:
        known(pynvml.nvmlShutdown)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
