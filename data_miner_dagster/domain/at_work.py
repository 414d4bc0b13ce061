"""The current work of a thread: run, stage, project and video. Log lines and spans include the known ones.

Each value is set where the work begins: the run where its process starts, the stage of videos where a batch starts, the
stage of a project in `project_stage`, and the video in the item guard. Threads of `InheritingThreads` and
`inheriting_thread` inherit the values. Log messages from a worker process are logged again by the thread that is
waiting for it.

Belongs here: these values, and threads that inherit them. Does not belong here: the format of log lines
(operations/logs.py).
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AtWork:
    """The current work. A value is None if it does not apply."""

    run_id: str | None = None
    stage: str | None = None
    """The name of the stage in lower case, or the name of the run's job until its stage is known."""
    project: str | None = None
    video: str | None = None

    def known(self) -> dict[str, str]:
        """Return the values that are not None, by name."""
        return {name: value for name in FIELDS if (value := getattr(self, name)) is not None}


FIELDS: Final = tuple(field.name for field in fields(AtWork))

_NOTHING: Final = AtWork()
_present: ContextVar[AtWork] = ContextVar("at_work", default=_NOTHING)


def at_work() -> AtWork:
    """Return the current work of this thread."""
    return _present.get()


@contextmanager
def working_on(
    *, run_id: str | None = None, stage: str | None = None, project: str | None = None, video: str | None = None
) -> Iterator[None]:
    """Set the current work of this thread while the block runs.

    The work is inherited by tasks that are submitted to `InheritingThreads` in the block, and by each
    `inheriting_thread` that is created in it. An argument of None leaves its value unchanged.
    """
    given = {"run_id": run_id, "stage": stage, "project": project, "video": video}
    token = _present.set(replace(_present.get(), **{name: value for name, value in given.items() if value is not None}))
    try:
        yield
    finally:
        with suppress(ValueError):  # if another thread closes the generator, it has nothing to restore
            _present.reset(token)


class InheritingThreads(ThreadPoolExecutor):
    """A thread pool that runs each task in a copy of the context of the thread that submitted it."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a call as `ThreadPoolExecutor.submit` does, and run it in a copy of the caller's context."""
        return super().submit(copy_context().run, partial(fn, *args, **kwargs))


def inheriting_thread(target: Callable[..., object], *args: Any, name: str) -> threading.Thread:
    """Return a daemon thread, not yet started, that will run in a copy of this thread's context."""
    return threading.Thread(target=copy_context().run, args=(target, *args), name=name, daemon=True)
