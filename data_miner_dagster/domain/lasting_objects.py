"""Keep Python's garbage collector away from objects that stay until the process ends: modules and loaded models.

Imports and loaded models create hundreds of thousands of objects. The collector would traverse them over and over as
they are created, and again whenever it runs later. This takes up to a quarter of the CPU time of starting a process.
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
    """Pause garbage collection in the whole process, and ignore the objects of the block from then on.

    Reference counting goes on. Blocks may be nested, and may overlap in several threads: collection resumes when the
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
