"""The caller's end: a pool of worker processes, started as they are needed, reused, and replaced when they end."""

import atexit
import json
import logging
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

import data_miner_dagster
from data_miner_dagster.workers.errors import (
    WorkerDiedError,
    WorkerLimitError,
    WorkersClosedError,
    error_from_json,
)
from data_miner_dagster.workers.limits import WorkerLimits

OnCall = Callable[[str, dict[str, Any]], Any]
"""Answers what a job asks of its caller, by name; the answer must be one that JSON can say."""

_PASSED_ON: Final = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "TMPDIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "LD_LIBRARY_PATH",
        "PYTHONHOME",
        "PYTHONUTF8",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPYCACHEPREFIX",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    }
)
"""The variables that a worker may see: none of them holds a secret."""
_MAX_LINE: Final = 64 << 20
_LAST_WORDS: Final = 400
_DIES_WITHIN_SECONDS: Final = 2.0


class WorkerPool:
    """Worker processes for the jobs of one module. Safe to share between threads.

    Args:
        module: is run as `python -m module`, and ends with `serving.serve(JOBS)`.
        size: how many workers there may be at once; a call beyond that waits. None: one for each call.
        environment: names of variables that its workers may see beyond those that hold no secret anywhere.
    """

    def __init__(
        self,
        module: str,
        *,
        size: int | None = None,
        environment: Collection[str] = (),
        beside: "WorkerPool | None" = None,
    ) -> None:
        self._module = module
        self._beside = beside
        self._environment = frozenset(environment)
        self._places = threading.BoundedSemaphore(size) if size is not None else None
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._nursery: _Nursery | None = None
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []
        self._is_closed = False
        self._notices_file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._notices_file.truncate(8)
        self._notices = mmap.mmap(self._notices_file.fileno(), 8)
        self._num_notices = 0

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, whatever they are doing. Calls that wait for one raise WorkersClosedError."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            workers, self._all = self._all, []
            idle, self._idle = self._idle, []
        if was_closed:
            return
        for worker in workers:  # one at work is closed by the thread that waits for it
            worker.kill()
        for worker in idle:
            worker.close_files()
        with self._starting:
            if self._nursery is not None:
                _keep(self._nursery)
        self._notices.close()
        self._notices_file.close()

    def beside(self) -> "WorkerPool":
        """Return another pool of the same module, to be closed first.

        It has workers of its own, which never see what these were given, and spares the start and the imports of an
        interpreter for them.
        """
        return WorkerPool(self._module, environment=self._environment, beside=self)

    def start(self) -> None:
        """Begin to import the module, so that the first call finds it imported. Returns at once."""
        self._live_nursery()

    def notify(self) -> None:
        """Have `serving.num_notices` grow by one in every worker, at once and without a message."""
        with self._lock:
            if not self._is_closed:
                self._num_notices += 1
                struct.pack_into("=Q", self._notices, 0, self._num_notices)

    @property
    def process_ids(self) -> list[int]:
        """The workers that there are now."""
        with self._lock:
            return [worker.process_id for worker in self._all]

    def call(
        self,
        job: str,
        arguments: dict[str, Any],
        *,
        limits: WorkerLimits | None = None,
        on_call: OnCall | None = None,
    ) -> Any:
        """Have a worker do a job and return its answer.

        Raises:
            WorkerLimitError: it needed more than `limits`; the worker has been replaced.
            WorkerDiedError: the worker ended.
            WorkerFaultError: the job raised what nobody expected.
            WorkersClosedError: `close` was called meanwhile.
            DataMinerError, OSError: as the job raised them. What `on_call` raises comes through as it is.
        """
        with self._borrowed() as worker:
            try:
                return worker.ask(job, arguments, limits or WorkerLimits(), on_call)
            except WorkerDiedError:
                if self._is_closed:
                    raise WorkersClosedError from None
                raise

    @contextmanager
    def _borrowed(self) -> "Iterator[_Worker]":
        if self._places is not None:
            self._places.acquire()
        try:
            worker = self._worker()
            try:
                yield worker
            finally:
                with self._lock:
                    goes_on = worker.is_sound and not self._is_closed
                    if goes_on:
                        self._idle.append(worker)
                    elif worker in self._all:
                        self._all.remove(worker)
                if not goes_on:
                    worker.kill()
                    worker.close_files()
        finally:
            if self._places is not None:
                self._places.release()

    def _worker(self) -> "_Worker":
        while True:
            with self._lock:
                if self._is_closed:
                    raise WorkersClosedError
                worker = self._idle.pop() if self._idle else None
                if worker is not None and worker.is_sound:
                    return worker
                if worker is not None:
                    self._all.remove(worker)
            if worker is None:
                break
            worker.close_files()  # its nursery has ended, and it with it
        try:
            worker = self._live_nursery().spawn(self._notices_file.fileno())
        except (ValueError, WorkerDiedError):  # ValueError: the file of notices is closed
            if self._is_closed:
                raise WorkersClosedError from None
            raise
        with self._lock:
            if not self._is_closed:
                self._all.append(worker)
                return worker
        worker.kill()
        worker.close_files()
        raise WorkersClosedError

    def _live_nursery(self) -> "_Nursery":
        if self._beside is not None:
            return self._beside._live_nursery()
        with self._starting:
            if self._is_closed:
                raise WorkersClosedError
            if self._nursery is None or not self._nursery.is_alive:
                if self._nursery is not None:
                    self._nursery.close()
                self._nursery = _nursery_of(self._module, self._environment)
            return self._nursery


class _Nursery:
    """The process that has imported the module, and forks workers."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self.module = module
        self.environment = environment
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", module],
                stdin=theirs.fileno(),
                stdout=self._errors,
                stderr=self._errors,
                env=environment,
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def _tell(self, message: dict[str, Any], files: list[int]) -> dict[str, Any]:
        """Raise EOFError if it has ended."""
        with self._lock:
            try:
                socket.send_fds(self._control, [json.dumps(message).encode()], files)
                answer = self._control.recv(1024)
            except OSError as error:
                raise EOFError from error
        if not answer:
            raise EOFError
        found: dict[str, Any] = json.loads(answer)
        return found

    def spawn(self, notices: int) -> "_Worker":
        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - the worker's, which closes it
        try:
            process_id = self._tell({}, [theirs.fileno(), errors.fileno(), notices])["process_id"]
        except EOFError:
            ours.close()
            errors.close()
            try:
                code = self._process.wait(_DIES_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:  # it lives: what it was to be sent has been closed meanwhile
                raise WorkersClosedError from None
            raise WorkerDiedError(f"no worker could be started: it {_how(code, self._errors)}") from None
        finally:
            theirs.close()
        return _Worker(self, process_id, ours, errors)

    def end(self, process_id: int, seconds: float) -> int | None:
        """Give a worker so many seconds to end by itself, then kill it; return its exit code as Popen would."""
        try:
            return os.waitstatus_to_exitcode(self._tell({"end": process_id, "seconds": seconds}, [])["status"])
        except EOFError:
            return None  # the kernel has killed it together with its nursery

    def close(self) -> None:
        with self._lock:
            self._control.close()
        try:
            self._process.wait(_DIES_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:  # still importing
            self._process.kill()
            self._process.wait()
        self._errors.close()


_spare: dict[str, _Nursery] = {}
"""By module, that of a pool which has been closed: whoever needs the module next finds it imported."""
_changing_spare = threading.Lock()


def _nursery_of(module: str, names: Collection[str]) -> _Nursery:
    source = str(Path(data_miner_dagster.__file__).parent.parent)  # the same code as ours, wherever we stand
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    allowed = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name in names}
    environment = {**allowed, "PYTHONPATH": path}
    with _changing_spare:
        spare = _spare.pop(module, None)
    if spare is not None:
        if spare.is_alive and spare.environment == environment:
            return spare
        spare.close()
    return _Nursery(module, environment)


def _keep(nursery: _Nursery) -> None:
    with _changing_spare:
        other, _spare[nursery.module] = _spare.get(nursery.module), nursery
    if other is not None:
        other.close()


@atexit.register
def _close_spare() -> None:
    while _spare:
        _spare.popitem()[1].close()


class _Worker:
    """The caller's end of one worker."""

    def __init__(self, nursery: _Nursery, process_id: int, channel: socket.socket, errors: IO[bytes]) -> None:
        self.process_id = process_id
        self._nursery = nursery
        self._channel = channel
        self._errors = errors
        self._received = bytearray()
        self._is_busy = False
        self._is_last = False
        self._exit_code: int | None = None
        self._has_ended = False
        self._ending = threading.Lock()

    @property
    def is_sound(self) -> bool:
        """True if it can take another job."""
        return not (self._is_busy or self._is_last or self._has_ended) and self._nursery.is_alive

    def ask(self, job: str, arguments: dict[str, Any], limits: WorkerLimits, on_call: OnCall | None) -> Any:
        """Send a job and wait for its answer; see `WorkerPool.call`."""
        self._is_busy = True  # unless an answer comes, it is of no more use
        self._errors.seek(0)
        self._errors.truncate()
        deadline = None if limits.wall_seconds is None else time.monotonic() + limits.wall_seconds
        level = logging.getLogger(data_miner_dagster.__name__).getEffectiveLevel()
        message = {"job": job, "arguments": arguments, "limits": asdict(limits), "log_level": level}
        self._send(message, deadline, limits)
        failure: Exception | None = None
        while True:
            said = self._receive(deadline, limits)
            if "log" in said:
                logging.getLogger(said["log"]).log(said["level"], "%s", said["message"])
            elif "ask" in said:
                began = time.monotonic()
                reply: dict[str, Any] = {}
                try:
                    assert on_call is not None, f"{job} asks for {said['ask']}"
                    reply = {"reply": on_call(said["ask"], said["arguments"])}
                except Exception as error:  # noqa: BLE001 - raised when the job has ended by it
                    failure = error
                deadline = None if deadline is None else deadline + time.monotonic() - began
                self._send(reply, deadline, limits)
            else:
                break
        self._is_busy, self._is_last = False, said["is_last"]
        if failure is not None:
            raise failure
        if "answer" in said:
            return said["answer"]
        if said["error"].get("limit") == "memory":
            self._is_last = True
            allowed = "" if limits.memory_bytes is None else f" than {limits.memory_bytes} bytes"
            raise WorkerLimitError("memory", f"needs more memory{allowed}")
        raise error_from_json(said["error"])

    def _send(self, message: dict[str, Any], deadline: float | None, limits: WorkerLimits) -> None:
        try:
            self._set_timeout(deadline)
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except TimeoutError:
            raise self._too_long(limits) from None
        except OSError:
            raise self._death(limits) from None

    def _receive(self, deadline: float | None, limits: WorkerLimits) -> dict[str, Any]:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > _MAX_LINE:
                raise WorkerLimitError("answer", f"answers with more than {_MAX_LINE} bytes")
            try:
                self._set_timeout(deadline)
                block = self._channel.recv(1 << 16)
            except TimeoutError:
                raise self._too_long(limits) from None
            except OSError:
                block = b""
            if not block:
                raise self._death(limits)
            self._received += block
        line = self._received[:end]
        del self._received[: end + 1]
        found: dict[str, Any] = json.loads(line)
        return found

    def _set_timeout(self, deadline: float | None) -> None:
        self._channel.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))

    def _too_long(self, limits: WorkerLimits) -> WorkerLimitError:
        self.kill()
        return WorkerLimitError("wall", f"takes longer than {limits.wall_seconds:g} s")

    def _death(self, limits: WorkerLimits) -> WorkerLimitError | WorkerDiedError:
        self._end(_DIES_WITHIN_SECONDS)
        if self._exit_code == -signal.SIGXCPU and limits.cpu_seconds is not None:
            return WorkerLimitError("cpu", f"takes more than {limits.cpu_seconds:g} s of CPU")
        return WorkerDiedError(_how(self._exit_code, self._errors))

    def kill(self) -> None:
        """End it, whatever it is doing. Another thread may be waiting for its answer."""
        self._end(0.0)

    def _end(self, seconds: float) -> None:
        with self._ending:
            if not self._has_ended:
                self._has_ended = True
                self._exit_code = self._nursery.end(self.process_id, seconds)

    def close_files(self) -> None:
        """Close what is open here; the worker has ended."""
        self._channel.close()
        self._errors.close()


def _how(code: int | None, errors: IO[bytes]) -> str:
    """Return how a process ended, and its last words."""
    errors.seek(0)
    words = errors.read().decode(errors="replace").strip()[-_LAST_WORDS:].splitlines()
    if code is None:
        how = "was ended"
    elif code < 0:
        how = f"was ended by {signal.Signals(-code).name}"
    else:
        how = f"ended with code {code}"
    return f"{how}: {words[-1]}" if words else how
