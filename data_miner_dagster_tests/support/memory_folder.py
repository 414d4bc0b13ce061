"""Print a folder in memory for the files of tests, if there is one. Run this module with `python -m`.

Nothing that a test writes has to outlive the tests. On a disk, the tests mostly wait for files and databases to be
flushed, thousands of times, and a fifth of their CPU time is also spent on flushing.
"""

import os
from pathlib import Path
from typing import Final

_IN_MEMORY: Final = Path("/dev/shm")
_MIN_FREE_BYTES: Final = 8_000_000_000
_MIN_MEMORY_BYTES: Final = 20_000_000_000
"""The memory that three workers and the files need together."""


def memory_folder() -> Path | None:
    """Return a folder in memory, or None if it or the memory is too small, or it forbids writing or executing."""
    try:
        room = os.statvfs(_IN_MEMORY)
    except OSError:
        return None
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    has_room = room.f_bavail * room.f_frsize >= _MIN_FREE_BYTES and memory_bytes >= _MIN_MEMORY_BYTES
    is_usable = os.access(_IN_MEMORY, os.W_OK) and not room.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
    return _IN_MEMORY if has_room and is_usable else None


if __name__ == "__main__":
    os.write(1, str(memory_folder() or "").encode())
