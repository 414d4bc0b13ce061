"""Exclusion of long-lived objects, such as modules and loaded models, from garbage collection.

Imports and loaded models create hundreds of thousands of objects. The collector would traverse them repeatedly while
they are being created, and again whenever it runs later. This would take up to a quarter of the CPU time needed to
start a process.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_lock: Final = threading.Lock()
_num_blocks = 0


@contextmanager
def creating_lasting_objects() -> Iterator[None]:
    """Pause garbage collection in the whole process during the block, then exclude all existing objects from it.

    Reference counting continues. Blocks may be nested, and may overlap in several threads. Collection resumes when the
    last of them ends.
    """
    global _num_blocks
    with _lock:
        _num_blocks += 1
        gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        with _lock:
            _num_blocks -= 1
            if _num_blocks == 0:
                gc.enable()
