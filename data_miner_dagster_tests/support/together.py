"""Concurrent writers: actions that begin at the same moment, or in the middle of another's transaction."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final

_LONG_ENOUGH_SECONDS: Final = 0.3
"""Time enough for an action to end if it does not have to wait for another."""


def run_together(*actions: Callable[[], object]) -> list[object]:
    """Run each action in its own thread, starting all at the same moment, and return their results in order.

    If an action raises an exception, it is raised again.
    """
    barrier = threading.Barrier(len(actions))

    def begin(action: Callable[[], object]) -> object:
        barrier.wait(60)
        return action()

    with ThreadPoolExecutor(len(actions)) as threads:
        return list(threads.map(begin, actions))


@contextmanager
def another_thread() -> Iterator[Callable[[Callable[[], object]], Future[object]]]:
    """Yield a function that starts an action in another thread, and returns when the action ends or has to wait."""
    with ThreadPoolExecutor(1) as threads:

        def begin(action: Callable[[], object]) -> Future[object]:
            future = threads.submit(action)
            wait([future], _LONG_ENOUGH_SECONDS)
            return future

        yield begin
