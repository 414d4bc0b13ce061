"""The stored roots of released versions, and how they are unpacked."""

import tarfile
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent


def unpack(version: str, target: Path) -> Path:
    """Unpack what version `version` made, such as 0.1.0, below `target`: project files, media, and the root `mined`."""
    with tarfile.open(FOLDER / f"v{version.replace('.', '_')}" / "root.tar.xz") as archive:
        archive.extractall(target, filter="data")
    return target
