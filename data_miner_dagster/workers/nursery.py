"""The process that has imported a pool's module and forks its workers, so a new worker has nothing to import."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any, Final

import data_miner_dagster
from data_miner_dagster.workers.errors import WorkerDiedError, WorkersClosedError

DIES_WITHIN_SECONDS: Final = 2.0
"""The time in seconds that a process may take to end before it is killed."""
_LAST_WORDS: Final = 400
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
"""The environment variables that every worker may see. None of them contains a secret."""


class Nursery:
    """The caller's handle on a process that has imported a module of jobs and forks workers that run them."""

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
        """True while the process is running. Its workers end with it."""
        return self._process.poll() is None

    def _tell(self, message: dict[str, Any], files: list[int]) -> dict[str, Any]:
        """Send a message and return the answer.

        Raises:
            EOFError: the process has ended.
        """
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

    def spawn(self, notices: int) -> tuple[int, socket.socket, IO[bytes]]:
        """Fork a worker. Return its process id, the channel to it, and the file with its output.

        Args:
            notices: the file descriptor of the pool's counter of notices, which the worker maps into its memory.

        Raises:
            WorkerDiedError: the module cannot be imported, or the nursery was killed.
            WorkersClosedError: the notices file was closed in the meantime.
        """
        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - owned and closed by the worker
        try:
            process_id = self._tell({}, [theirs.fileno(), errors.fileno(), notices])["process_id"]
        except EOFError:
            ours.close()
            errors.close()
            try:
                code = self._process.wait(DIES_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:  # the nursery is alive, so the file `notices` was closed
                raise WorkersClosedError from None
            how = how_it_ended(code, self._errors)
            # The caller of the pool puts the subject before the message, as in "the decoder could not be started".
            raise WorkerDiedError(f"could not be started, because the process that forks it {how}") from None
        finally:
            theirs.close()
        return process_id, ours, errors

    def end(self, process_id: int, seconds: float) -> tuple[int | None, float]:
        """Wait up to `seconds` for a worker to end, and kill it if it has not.

        Returns:
            The worker's exit code, in the form that Popen uses, and its total CPU time in seconds. They are None and 0
            if the nursery has ended, because its workers have ended with it.
        """
        try:
            ended = self._tell({"end": process_id, "seconds": seconds}, [])
        except EOFError:
            return None, 0.0  # the kernel has killed the worker together with its nursery
        return os.waitstatus_to_exitcode(ended["status"]), float(ended["cpu_seconds"])

    def close(self) -> None:
        """End the process and all its workers."""
        with self._lock:
            self._control.close()
        try:
            self._process.wait(DIES_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:  # still importing
            self._process.kill()
            self._process.wait()
        self._errors.close()


_spare: dict[str, Nursery] = {}
"""The nursery of a closed pool, by module. The next pool for that module reuses it, which saves importing again."""
_changing_spare = threading.Lock()


def nursery_of(module: str, names: Collection[str]) -> Nursery:
    """Return a nursery for a module: the spare one if it is alive and has the same environment, otherwise a new one.

    Args:
        module: the module to run as `python -m module`.
        names: names of additional environment variables that the workers may see.
    """
    source = str(Path(data_miner_dagster.__file__).parent.parent)  # our own code, whatever the working directory
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    allowed = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name in names}
    environment = {**allowed, "PYTHONPATH": path}
    with _changing_spare:
        spare = _spare.pop(module, None)
    if spare is not None:
        if spare.is_alive and spare.environment == environment:
            return spare
        spare.close()
    return Nursery(module, environment)


def keep(nursery: Nursery) -> None:
    """Keep a nursery as the spare for its module once its pool no longer needs it. An earlier spare is closed."""
    with _changing_spare:
        other, _spare[nursery.module] = _spare.get(nursery.module), nursery
    if other is not None:
        other.close()


@atexit.register
def _close_spare() -> None:
    while _spare:
        _spare.popitem()[1].close()


def how_it_ended(code: int | None, errors: IO[bytes]) -> str:
    """Return a phrase that says how a process ended, with the last line of its output if there is any.

    `code` is the process's exit code, in the form that Popen uses, or None if the code is unknown.
    """
    errors.seek(0)
    words = errors.read().decode(errors="replace").strip()[-_LAST_WORDS:].splitlines()
    if code is None:
        how = "was ended"
    elif code < 0:
        how = f"was ended by {signal.Signals(-code).name}"
    else:
        how = f"ended with code {code}"
    return f"{how}: {words[-1]}" if words else how
