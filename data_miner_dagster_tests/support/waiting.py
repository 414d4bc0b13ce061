"""Wait for what other threads and processes do, however busy the machine is."""

import time
from collections.abc import Callable
from typing import Final

_GIVES_UP_SECONDS: Final = 120.0
"""A limit for what normally takes milliseconds. Even on an overloaded machine, only a hang should reach it."""


def wait_until(is_so: Callable[[], bool], say: Callable[[], str] = str) -> None:
    """Return once `is_so` returns True.

    Raises:
        AssertionError: `is_so` did not return True in time. The message is what `say` returns.
    """
    deadline = time.monotonic() + _GIVES_UP_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, say()
        time.sleep(0.01)
