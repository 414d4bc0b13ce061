"""The process that has imported a pool's module, and forks its workers: a fork costs no start and no import."""

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
"""What a process is granted to end by itself."""
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
"""The variables that a worker may see: none of them holds a secret."""


class Nursery:
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
        """True while its process runs: with it end its workers."""
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

    def spawn(self, notices: int) -> tuple[int, socket.socket, IO[bytes]]:
        """Fork a worker; return its process id, the channel to it, and the file of what it prints.

        Raises:
            WorkerDiedError: the module cannot be imported, or the nursery was killed.
            WorkersClosedError: the file of notices has been closed meanwhile.
        """
        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - the worker's, which closes it
        try:
            process_id = self._tell({}, [theirs.fileno(), errors.fileno(), notices])["process_id"]
        except EOFError:
            ours.close()
            errors.close()
            try:
                code = self._process.wait(DIES_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:  # it lives: what it was to be sent has been closed meanwhile
                raise WorkersClosedError from None
            raise WorkerDiedError(f"no worker could be started: it {how_it_ended(code, self._errors)}") from None
        finally:
            theirs.close()
        return process_id, ours, errors

    def end(self, process_id: int, seconds: float) -> int | None:
        """Give a worker so many seconds to end by itself, then kill it; return its exit code as Popen would."""
        try:
            return os.waitstatus_to_exitcode(self._tell({"end": process_id, "seconds": seconds}, [])["status"])
        except EOFError:
            return None  # the kernel has killed it together with its nursery

    def close(self) -> None:
        """End it and its workers."""
        with self._lock:
            self._control.close()
        try:
            self._process.wait(DIES_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:  # still importing
            self._process.kill()
            self._process.wait()
        self._errors.close()


_spare: dict[str, Nursery] = {}
"""By module, the nursery of a pool which has been closed: whoever needs the module next finds it imported."""
_changing_spare = threading.Lock()


def nursery_of(module: str, names: Collection[str]) -> Nursery:
    """Return a nursery of a module: the spare one if it was given the same environment, else a new one.

    Args:
        module: is run as `python -m module`.
        names: of variables that its workers may see beyond those that hold no secret anywhere.
    """
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
    return Nursery(module, environment)


def keep(nursery: Nursery) -> None:
    """Keep a nursery that its pool no longer needs as the spare one of its module."""
    with _changing_spare:
        other, _spare[nursery.module] = _spare.get(nursery.module), nursery
    if other is not None:
        other.close()


@atexit.register
def _close_spare() -> None:
    while _spare:
        _spare.popitem()[1].close()


def how_it_ended(code: int | None, errors: IO[bytes]) -> str:
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
