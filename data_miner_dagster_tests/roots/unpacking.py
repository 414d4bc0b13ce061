"""Unpack the stored roots of released versions."""

import tarfile
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent


def unpack(version: str, target: Path) -> Path:
    """Unpack the project files, the media and the root `mined` that `version` (such as 0.1.0) made, into `target`."""
    with tarfile.open(FOLDER / f"v{version.replace('.', '_')}" / "root.tar.xz") as archive:
        archive.extractall(target, filter="data")
    return target
