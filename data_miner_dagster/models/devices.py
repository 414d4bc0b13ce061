"""Find the devices that this machine has, and choose one for a model."""

from collections.abc import Sequence

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.lasting_objects import creating_lasting_objects


def devices_here(devices: Sequence[str]) -> list[str]:
    """Return the given devices that this machine has. Machines that share a root may have different devices.

    Raises:
        ConfigError: this machine has none of the devices.
    """
    with creating_lasting_objects():
        import torch

    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    found = [
        name
        for name in devices
        if name == "cpu" or (has_mps if name == "mps" else int(name.partition(":")[2]) < num_cuda)
    ]
    if not found:
        raise ConfigError(
            f"platform.models.devices is [{', '.join(devices)}], but this machine has none of these devices; "
            "add one that it has, such as cpu, or remove this setting"
        )
    return found


def resolve_device(device: str) -> str:
    """Return `device`, or the best available device if it is `auto`: CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: this machine does not have the requested device.
    """
    with creating_lasting_objects():
        import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind == "cuda":
        has_device = torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()
    else:
        has_device = kind == "cpu" or torch.backends.mps.is_available()
    if not has_device:
        raise ConfigError(f"platform.models.device is {device!r}, which this machine does not have; use `auto`")
    return device
