"""The log of the servers that `data-miner up` runs, in a file under the root and, on request, on the terminal.

A person at the terminal wants a line for each change (watching.py), not for each evaluation of a sensor.
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
"""The size in bytes beyond which the file is renamed to `up.log.1`, replacing any earlier file of that name."""


class UpLog:
    """A thread-safe log of the lines that several processes print.

    Args:
        file: the file to write all lines to, or None for no file.
        is_shown: whether to show the lines on standard error too. Without a file they are always shown.
    """

    def __init__(self, file: Path | None = None, *, is_shown: bool = False) -> None:
        self._file = file
        self._is_shown = is_shown or file is None
        self._keeps_colours = sys.stderr.isatty()
        self._lock = threading.Lock()

    @property
    def hint(self) -> str:
        """A remark that says where the log is, or an empty string if all lines are shown."""
        return "" if self._is_shown else f"; its log is in {self._file}"

    def take(self, line: bytes) -> str:
        """Write one line to the log, and return it as plain text. Errors while writing are ignored."""
        plain = _COLOURS.sub(b"", line)
        with self._lock:
            if self._file is not None:
                with suppress(OSError):  # a full disk must not stop reading, or the writing process would block
                    self._append(self._file, plain)
            if self._is_shown:
                with suppress(OSError, ValueError):  # the terminal has been closed
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
