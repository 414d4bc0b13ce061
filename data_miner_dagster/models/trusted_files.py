"""Check the pins of files that can run code when they are opened: pickles and TorchScript programs."""

from pathlib import Path

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.models.registry import ModelEntry


def check_pinned(entry: ModelEntry, path: Path, option: str) -> None:
    """Ensure that a file has the sha256 in the given option of its entry. Call this before the file is opened.

    Raises:
        ModelError: the option is missing or contains another sha256.
        OSError: the file cannot be read.
    """
    pinned = entry.options.get(option)
    actual = sha256_of_file(path)
    if pinned is None:
        otherwise = ", or export it to .onnx" if path.suffix == ".pt" else ""
        raise ModelError(
            f"model {entry.name}: {path.name} can run arbitrary code when it is opened; if you trust it, pin it with "
            f"`options: {{{option}: {actual}}}`{otherwise}"
        )
    if pinned.lower() != actual:
        raise ModelError(
            f"model {entry.name}: {path} has sha256 {actual} instead of the pinned {pinned}; fetch the file again, "
            f"or correct `{option}`"
        )
