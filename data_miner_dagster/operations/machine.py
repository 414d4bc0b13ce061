"""Read the state of the machine's disk, and of its GPUs if it has an NVIDIA driver."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GpuValues:
    """The state of one GPU."""

    name: str  # its number in CUDA, with CUDA_DEVICE_ORDER=PCI_BUS_ID
    memory_used_bytes: int
    memory_size_bytes: int
    utilization: float  # from 0 to 1
    model: str
    driver: str


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
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(device)
            used = pynvml.nvmlDeviceGetUtilizationRates(device).gpu / 100
            model = _text(pynvml.nvmlDeviceGetName(device))
            found.append(GpuValues(str(index), int(memory.used), int(memory.total), used, model, driver))
        return found
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
