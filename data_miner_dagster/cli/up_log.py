"""The log of the servers of `data-miner up`: all of it in a file under the root, on the terminal only if requested.

A person who looks on wants a line for each change (watching.py), and not that a sensor has looked again.
"""

import os
import re
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

_COLOURS: Final = re.compile(rb"\x1b\[[0-9;]*m")
_MAX_BYTES: Final = 20_000_000
"""Then the file is kept as `up.log.1`, in place of the one before."""


class UpLog:
    """Takes the lines of several processes. Threads may share it.

    Args:
        file: where all lines go; None: nowhere.
        is_shown: whether they are also shown on standard error. Without a file they always are.
    """

    def __init__(self, file: Path | None = None, *, is_shown: bool = False) -> None:
        self._file = file
        self._is_shown = is_shown or file is None
        self._keeps_colours = sys.stderr.isatty()
        self._lock = threading.Lock()

    @property
    def hint(self) -> str:
        """Where to find the rest, in words; empty if everything has been shown."""
        return "" if self._is_shown else f"; its log is in {self._file}"

    def take(self, line: bytes) -> str:
        """Keep one line, and return it as plain text."""
        plain = _COLOURS.sub(b"", line)
        with self._lock:
            if self._file is not None:
                with suppress(OSError):  # a full disk must not stop the reading: the writer would block
                    self._append(self._file, plain)
            if self._is_shown:
                with suppress(OSError, ValueError):  # the terminal is gone
                    sys.stderr.buffer.write(line if self._keeps_colours else plain)
                    sys.stderr.buffer.flush()
        return plain.decode(errors="replace").strip()

    def _append(self, file: Path, line: bytes) -> None:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, line)
            size_bytes = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size_bytes > _MAX_BYTES:
            file.replace(file.with_name(f"{file.name}.1"))
