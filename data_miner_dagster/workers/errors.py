"""The errors that a worker pool raises, and the transfer of errors from worker to caller."""

import traceback
from pathlib import Path
from typing import Any, Final

import data_miner_dagster
from data_miner_dagster.domain import errors as domain_errors
from data_miner_dagster.domain.errors import DataMinerError, PermanentError, TransientError
from data_miner_dagster.domain.reasons import VideoErrorKind

_PACKAGE: Final = Path(data_miner_dagster.__file__).parent
_MAX_MESSAGE: Final = 2_000
_MAX_TRACE: Final = 8_000


class WorkerLimitError(PermanentError):
    """A job exceeded one of its limits. `which` is `wall`, `cpu`, `memory` or `answer`.

    The message lacks its subject, as in `takes longer than 5 s`. The caller puts a name for the work in front of it.
    """

    def __init__(self, which: str, message: str) -> None:
        super().__init__(message)
        self.which = which


class WorkerDiedError(TransientError):
    """A worker could not be started, or ended during a job. The message says how, with the last line of any output.

    The message lacks its subject, as in `ended with code 3`. The caller puts a name for the process in front of it.
    """


class WorkersClosedError(TransientError):
    """The pool was closed before or during a job, so nothing is known about the job's item."""

    def __init__(self) -> None:
        super().__init__("the worker pool was closed before this work was finished")


class WorkerFaultError(Exception):
    """An unexpected exception in a worker, with its details."""

    def __init__(self, class_name: str, message: str, place: str, trace: str) -> None:
        super().__init__(f"{class_name}: {message}" if message else class_name)
        self.class_name = class_name
        self.place = place
        """The innermost line of this package in the traceback, such as `operations/extraction/folder.py:120`.

        It is empty if the traceback has no line of this package.
        """
        self.trace = trace


class CallerError(BaseException):
    """The error that ends a job in a worker if the caller's `on_call` raises an exception instead of answering.

    The caller keeps that exception and raises it once the job has ended. This class does not derive from `Exception`,
    so no library handles it.
    """


def place_of(error: BaseException) -> str:
    """Return the innermost line of this package outside `workers/` in an error's traceback, or "" if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE) and path.parent.name != "workers":
            return f"{path.relative_to(_PACKAGE)}:{frame.lineno}"
    return ""


def error_to_json(error: BaseException) -> dict[str, Any]:
    """Return an error as a JSON-compatible dict for `error_from_json`.

    That function restores the error, or a fault that describes it. For CallerError and MemoryError, the dict only names
    the cause, and the caller raises another error.
    """
    if isinstance(error, CallerError):
        return {"is_of_caller": True}
    if isinstance(error, MemoryError):
        return {"limit": "memory"}
    name = type(error).__name__
    if isinstance(error, DataMinerError) and getattr(domain_errors, name, None) is type(error):
        return {"class": name, "message": str(error), "values": dict(vars(error))}
    if isinstance(error, OSError) and error.errno is not None:
        return {"errno": error.errno, "message": str(error.strerror or ""), "file": str(error.filename or "")}
    trace = "".join(traceback.format_exception(error))
    return {
        "fault": name,
        "message": " ".join(str(error).split())[:_MAX_MESSAGE],
        "place": place_of(error),
        "trace": trace[-_MAX_TRACE:],
    }


def error_from_json(content: dict[str, Any]) -> Exception:
    """Return the error that `error_to_json` encoded: a domain error, an OSError, or else a WorkerFaultError.

    The error must not have been a CallerError or a MemoryError.
    """
    if "class" in content:
        cls = getattr(domain_errors, content["class"])
        error = cls.__new__(cls)
        assert isinstance(error, DataMinerError)
        error.args = (content["message"],)
        for name, value in content["values"].items():
            setattr(error, name, VideoErrorKind(value) if name == "kind" else value)
        return error
    if "errno" in content:
        return OSError(content["errno"], content["message"], *([content["file"]] if content["file"] else []))
    return WorkerFaultError(content["fault"], content["message"], content["place"], content["trace"])
