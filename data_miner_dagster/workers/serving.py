"""The worker's side: a process that imports its jobs once and forks a worker whenever the pool requests one.

A worker serves one job after another. Messages are lines of JSON on the worker's own socket. If the pool's process
ends, however suddenly, so does the process that forks the workers, and the kernel then kills the workers.
"""

import ctypes
import gc
import json
import logging
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import data_miner_dagster
from data_miner_dagster.domain.meters import Meter
from data_miner_dagster.workers.errors import CallerError, error_to_json
from data_miner_dagster.workers.limits import data_bytes, held_to

Job = Callable[[dict[str, Any]], Any]
"""A function that maps the arguments of a call to its answer. Both must be JSON-serializable."""

NUM_FILES: Final = 3  # sent with each request for a worker: its socket, its standard error, the notices
_PR_SET_PDEATHSIG: Final = 1
_REAP_SECONDS: Final = 2.0


def serve(jobs: Mapping[str, Job]) -> None:
    """Fork and end workers on request, and end this process once the pool has closed its socket.

    Call this on the last line of a module of jobs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the pool, which then ends this process
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    control = socket.socket(fileno=os.dup(0))
    gc.collect()
    gc.freeze()
    while True:
        message, files, _, _ = socket.recv_fds(control, 1024, NUM_FILES)
        if not message:
            os._exit(0)
        wish = json.loads(message)
        if "end" in wish:
            status, cpu_seconds = _end(wish["end"], wish["seconds"])
            control.send(json.dumps({"status": status, "cpu_seconds": cpu_seconds}).encode())
            continue
        own = os.getpid()
        if (process_id := os.fork()) == 0:
            control.close()
            _be_worker(jobs, own, *files)
        for file in files:
            os.close(file)
        control.send(json.dumps({"process_id": process_id}).encode())


def _end(process_id: int, seconds: float) -> tuple[int, float]:
    """Kill a worker unless it exits within `seconds`. Return its wait status and its CPU time in seconds."""
    deadline = time.monotonic() + seconds
    ended, status, usage = 0, 0, None
    while not ended and time.monotonic() < deadline:
        ended, status, usage = os.wait4(process_id, os.WNOHANG)
        if not ended:
            time.sleep(0.002)
    if not ended or usage is None:
        os.kill(process_id, signal.SIGKILL)
        _, status, usage = os.wait4(process_id, 0)
    return status, usage.ru_utime + usage.ru_stime


def _be_worker(jobs: Mapping[str, Job], nursery: int, channel: int, errors: int, notices: int) -> None:
    status = 70
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != nursery:
            return
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(errors, 1)  # what libraries print must not be read as an answer
        os.dup2(errors, 2)
        os.close(errors)
        worker = _Worker(socket.socket(fileno=channel), mmap.mmap(notices, 8))
        os.close(notices)
        _the.append(worker)
        logger = logging.getLogger(data_miner_dagster.__name__)
        logger.handlers, logger.propagate = [_Forwarding()], False
        worker.serve(jobs)
        status = 0
    except BaseException:  # noqa: BLE001 - printed, as the last step here
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(status)


class _Worker:
    def __init__(self, channel: socket.socket, notices: mmap.mmap) -> None:
        self.channel = channel
        self.notices = notices
        self._lines = channel.makefile("rb")
        self._sending = threading.Lock()
        self._asking = threading.Lock()
        self._meter = Meter()

    def serve(self, jobs: Mapping[str, Job]) -> None:
        first_bytes: int | None = None
        while line := self._lines.readline():
            message = json.loads(line)
            logging.getLogger(data_miner_dagster.__name__).setLevel(message["log_level"])
            limits = message["limits"]
            first_bytes = data_bytes() if first_bytes is None else first_bytes
            answer: dict[str, Any]
            self._meter = Meter(of_process=True)
            with self._meter.working():
                try:
                    with held_to(limits):
                        answer = {"answer": jobs[message["job"]](message["arguments"])}
                except BaseException as error:  # noqa: BLE001 - raised again in the caller
                    answer = {"error": error_to_json(error)}
            allowed = limits.get("memory_bytes")
            # Limits count from the current size, so a worker that has grown permanently is replaced by a new one.
            is_last = allowed is not None and data_bytes() - first_bytes > allowed // 2
            self.send({**answer, "is_last": is_last, "spent": self._meter.take().told()})

    def tell_spent(self) -> None:
        self.send({"spent": self._meter.take().told()})

    def send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._sending:
            self.channel.sendall(line)

    def ask(self, name: str, arguments: dict[str, Any]) -> Any:
        with self._asking:
            self.send({"ask": name, "arguments": arguments})
            line = self._lines.readline()
        if not line:
            os._exit(0)  # the caller has ended, so nobody needs the result
        reply = json.loads(line)
        if "reply" not in reply:
            raise CallerError
        return reply["reply"]


class _Forwarding(logging.Handler):
    """Forwards log records to the pool's process."""

    def emit(self, record: logging.LogRecord) -> None:
        _the[0].send({"log": record.name, "level": record.levelno, "message": record.getMessage()})


_the: list[_Worker] = []
"""The worker in this process. The list is empty if this process is not a worker."""


def ask(name: str, arguments: dict[str, Any]) -> Any:
    """Ask the caller of the running job a question, and return the answer of its `on_call` (see `WorkerPool.call`).

    Raises:
        CallerError: `on_call` raised an exception. The job should let this error pass, which ends the job.
    """
    return _the[0].ask(name, arguments)


def tell_spent() -> None:
    """Report the cost of the running job so far, so that it is known even if this process is killed."""
    _the[0].tell_spent()


def num_notices() -> int:
    """Return how many times `WorkerPool.notify` has been called in the pool's process. No message is sent."""
    number: int = struct.unpack_from("=Q", _the[0].notices)[0]
    return number
