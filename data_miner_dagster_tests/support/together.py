"""Writers that meet: actions that begin at one moment, and one that begins in the middle of another's transaction."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final

_LONG_ENOUGH_SECONDS: Final = 0.3
"""For an action that waits for nobody to end."""


def run_together(*actions: Callable[[], object]) -> list[object]:
    """Run each in a thread, all from one moment on. Return what they return; raises what one of them raises."""
    barrier = threading.Barrier(len(actions))

    def begin(action: Callable[[], object]) -> object:
        barrier.wait(60)
        return action()

    with ThreadPoolExecutor(len(actions)) as threads:
        return list(threads.map(begin, actions))


@contextmanager
def another_thread() -> Iterator[Callable[[Callable[[], object]], Future[object]]]:
    """Yield a function that begins an action in another thread, and returns once it has ended or has to wait."""
    with ThreadPoolExecutor(1) as threads:

        def begin(action: Callable[[], object]) -> Future[object]:
            future = threads.submit(action)
            wait([future], _LONG_ENOUGH_SECONDS)
            return future

        yield begin
