"""What is being worked on here: run, stage, project, video. Every line of the log names them, and every span does.

They are set in one place each: the run where its process begins it, the stage of videos where a batch begins and that
of a project in `project_stage`, the video in the guard of items. Threads inherit them; what a worker process logs is
logged again by the thread that waits for it.

Belongs here: these values, and threads that inherit them. Does not belong here: how a line looks (operations/logs.py).
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
    """What is being worked on; None where it does not apply."""

    run_id: str | None = None
    stage: str | None = None
    """The word of the stage, in lower case; before a run's stage is known, the name of its job."""
    project: str | None = None
    video: str | None = None

    def known(self) -> dict[str, str]:
        """Return what is known, by name."""
        return {name: value for name in FIELDS if (value := getattr(self, name)) is not None}


FIELDS: Final = tuple(field.name for field in fields(AtWork))

_NOTHING: Final = AtWork()
_present: ContextVar[AtWork] = ContextVar("at_work", default=_NOTHING)


def at_work() -> AtWork:
    """Return what this thread works on."""
    return _present.get()


@contextmanager
def working_on(
    *, run_id: str | None = None, stage: str | None = None, project: str | None = None, video: str | None = None
) -> Iterator[None]:
    """Say what this thread, and what it starts, works on during the block. None leaves what was said before."""
    given = {"run_id": run_id, "stage": stage, "project": project, "video": video}
    token = _present.set(replace(_present.get(), **{name: value for name, value in given.items() if value is not None}))
    try:
        yield
    finally:
        with suppress(ValueError):  # a generator that another thread closes: there is nothing to restore there
            _present.reset(token)


class InheritingThreads(ThreadPoolExecutor):
    """A pool whose threads work in the context of the caller that submits."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do what `ThreadPoolExecutor.submit` does."""
        return super().submit(copy_context().run, partial(fn, *args, **kwargs))


def inheriting_thread(target: Callable[..., object], *args: Any, name: str) -> threading.Thread:
    """Return a daemon thread, not started yet, that works in the context of this one."""
    return threading.Thread(target=copy_context().run, args=(target, *args), name=name, daemon=True)
