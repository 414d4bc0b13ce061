"""Choose the device that a model runs on."""

from data_miner_dagster.domain.errors import ConfigError


def resolve_device(device: str) -> str:
    """Return `device`, or for `auto` the best available device: CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: this machine does not have the requested device.
    """
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
