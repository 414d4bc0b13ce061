"""Search folders in which other processes write and delete files.

`pathlib.Path.glob` raises if a folder that it has just listed is deleted before it looks inside.
"""

import glob
from pathlib import Path


def paths_below(folder: Path, pattern: str) -> list[Path]:
    """Return the sorted paths below a folder that match a pattern, including hidden names.

    The list is empty if the folder does not exist. A path may no longer exist by the time it is used. `**` matches any
    number of folders.
    """
    found = glob.iglob(pattern, root_dir=folder, recursive=True, include_hidden=True)  # noqa: PTH207 - see above
    return sorted(folder / name for name in found)


def modified_at(path: Path) -> float | None:
    """Return when a file or folder was last modified, in seconds since 1970, or None if it does not exist."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
