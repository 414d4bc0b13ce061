"""Waiting for what threads and processes do by themselves, however busy the machine is."""

import time
from collections.abc import Callable
from typing import Final

_GIVES_UP_SECONDS: Final = 120.0
"""For what takes milliseconds: a bound on hanging, which a starved machine must not reach."""


def wait_until(is_so: Callable[[], bool], say: Callable[[], str] = str) -> None:
    """Return once `is_so` returns True.

    Raises:
        AssertionError: it never did; with what `say` returns.
    """
    deadline = time.monotonic() + _GIVES_UP_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, say()
        time.sleep(0.01)
