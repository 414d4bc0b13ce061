"""The caller's side of one worker: sending a job, answering its questions, and receiving its answer."""

import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import IO, Any, Final

import data_miner_dagster
from data_miner_dagster.domain.measurements import Measured, measured_from_told
from data_miner_dagster.domain.meters import note
from data_miner_dagster.workers.errors import WorkerDiedError, WorkerLimitError, error_from_json
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.nursery import DIES_WITHIN_SECONDS, Nursery, how_it_ended

OnCall = Callable[[str, dict[str, Any]], Any]
"""A function that receives the name and arguments of a job's question and returns a JSON-serializable answer."""

_MAX_LINE: Final = 64 << 20


class Worker:
    """The caller's handle on a worker process."""

    def __init__(self, nursery: Nursery, process_id: int, channel: socket.socket, errors: IO[bytes]) -> None:
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
        self._cpu_seconds = 0.0  # over its whole lifetime, once it has ended
        self._told_cpu_seconds = 0.0

    @property
    def is_sound(self) -> bool:
        """True if the worker can take another job."""
        return not (self._is_busy or self._is_last or self._has_ended) and self._nursery.is_alive

    def ask(self, job: str, arguments: dict[str, Any], limits: WorkerLimits, on_call: OnCall | None) -> Any:
        """Send a job, and return its answer (see `WorkerPool.call`). The job's cost is added to the current meter."""
        try:
            return self._ask(job, arguments, limits, on_call)
        finally:
            if self._has_ended:  # possibly before it reported all its cost
                note(Measured(cpu_seconds=max(0.0, self._cpu_seconds - self._told_cpu_seconds)))

    def _ask(self, job: str, arguments: dict[str, Any], limits: WorkerLimits, on_call: OnCall | None) -> Any:
        self._is_busy = True  # a worker that has not answered cannot be used again
        self._errors.seek(0)
        self._errors.truncate()
        deadline = None if limits.wall_seconds is None else time.monotonic() + limits.wall_seconds
        level = logging.getLogger(data_miner_dagster.__name__).getEffectiveLevel()
        message = {"job": job, "arguments": arguments, "limits": asdict(limits), "log_level": level}
        self._send(message, deadline, limits)
        failure: Exception | None = None
        while True:
            said = self._receive(deadline, limits)
            if "spent" in said:
                self._note_spent(said.pop("spent"))
            if not said:
                continue
            if "log" in said:
                logging.getLogger(said["log"]).log(said["level"], "%s", said["message"])
            elif "ask" in said:
                began = time.monotonic()
                reply: dict[str, Any] = {}
                try:
                    assert on_call is not None, f"the job {job} asks {said['ask']!r}, but no `on_call` was passed"
                    reply = {"reply": on_call(said["ask"], said["arguments"])}
                except Exception as error:  # noqa: BLE001 - raised once the job has ended because of it
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
            # The caller of the pool puts the subject before the message.
            raise WorkerLimitError("memory", f"needs more memory{allowed}")
        raise error_from_json(said["error"])

    def _note_spent(self, told: dict[str, Any]) -> None:
        spent = replace(measured_from_told(told), wall_seconds=0.0)  # the caller measures this itself
        self._told_cpu_seconds += spent.cpu_seconds
        note(spent)

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
            if searched > _MAX_LINE:  # the caller of the pool puts the subject before the message
                raise WorkerLimitError("answer", f"produces more than {_MAX_LINE:,} bytes of results")
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
        # The caller of the pool puts the subject before the message, as in "decoding a.mp4 takes longer than 5 s".
        return WorkerLimitError("wall", f"takes longer than {limits.wall_seconds:g} s")

    def _death(self, limits: WorkerLimits) -> WorkerLimitError | WorkerDiedError:
        self._end(DIES_WITHIN_SECONDS)
        if self._exit_code == -signal.SIGXCPU and limits.cpu_seconds is not None:
            return WorkerLimitError("cpu", f"takes more than {limits.cpu_seconds:g} s of CPU")
        return WorkerDiedError(how_it_ended(self._exit_code, self._errors))

    def kill(self) -> None:
        """End the worker, whatever it is doing. Another thread may be waiting for the worker's answer."""
        self._end(0.0)

    def _end(self, seconds: float) -> None:
        with self._ending:
            if not self._has_ended:
                self._has_ended = True
                self._exit_code, self._cpu_seconds = self._nursery.end(self.process_id, seconds)

    def close_files(self) -> None:
        """Close the caller's files. The worker must have ended."""
        self._channel.close()
        self._errors.close()
