"""Supervise processes: restart each one that ends, and stop all of them together.

Belongs here: starting, watching and ending processes. Does not belong here: choosing the processes (up.py).
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Final

from data_miner_dagster.cli import keeper
from data_miner_dagster.cli.interrupts import EXIT_INTERRUPTED
from data_miner_dagster.cli.output import echo
from data_miner_dagster.cli.up_log import UpLog

_LOOK_SECONDS: Final = 0.2
_NUM_SAME_WORDS: Final = 3
_NUMBERS: Final = re.compile(r"[0-9a-f]*\d[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Patience:
    """The delays and timeouts for supervising processes."""

    first_seconds: float = 1.0  # delay before a restart; doubled with each consecutive death
    longest_seconds: float = 60.0  # longest delay before a restart
    lived_seconds: float = 180.0  # once a process has lived this long, its next delay is `first_seconds` again
    stop_seconds: float = 5.0  # time for an orderly shutdown

    def delay_seconds(self, num_deaths: int) -> float:
        """Return the delay in seconds after `num_deaths` consecutive deaths (1 or more)."""
        return min(self.first_seconds * 2.0 ** min(num_deaths - 1, 40), self.longest_seconds)


def supervise(
    commands: Mapping[str, Sequence[str]],
    *,
    working_folder: Path | None = None,
    lock: int | None = None,
    patience: Patience | None = None,
    log: UpLog | None = None,
) -> int:
    """Run the named commands until a signal arrives, and restart each one that ends; return the exit status.

    Their output goes to `log`, or to standard error by default. After SIGINT, SIGTERM or SIGHUP, the commands have
    `patience.stop_seconds` to end before they are killed; a second signal kills them immediately. However this process
    ends, all processes that it started end too, including their descendants. The file descriptor `lock` stays open
    until then. The exit status is 130 after SIGINT, and 0 after another signal.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    patience = patience or Patience()
    groups = _Keeper(lock)
    log = log or UpLog()
    children = [_Child(name, command, working_folder, patience, log) for name, command in commands.items()]
    while not received:
        groups.look()
        for child in children:
            child.look(groups)
        time.sleep(_LOOK_SECONDS)
    echo("stopping all processes", err=True)
    for child in children:
        child.interrupt()
    deadline = time.monotonic() + patience.stop_seconds
    # a second Ctrl-C ends the wait
    while any(child.is_alive() for child in children) and time.monotonic() < deadline and len(received) == 1:
        time.sleep(_LOOK_SECONDS / 4)
    groups.end()
    return EXIT_INTERRUPTED if received[0] == signal.SIGINT else 0


class _Keeper:
    """Runs keeper.py, which kills the process groups once this process has ended. A dead keeper is restarted."""

    def __init__(self, lock: int | None) -> None:
        self._lock = lock
        self._groups: set[int] = set()
        self._process = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-I", "-S", keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=() if self._lock is None else (self._lock,),
        )

    @property
    def pipe(self) -> int:
        """The file descriptor to which process group ids are written, one per line."""
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    def look(self) -> None:
        """If keeper.py has died, restart it and send it the ids of the process groups again."""
        if self._process.poll() is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = self._started()
        self._groups = {group for group in self._groups if keeper.is_there(group)}
        os.write(self.pipe, "".join(f"{group}\n" for group in self._groups).encode())

    def add(self, group: int) -> None:
        """Record a process group that has already reported itself to keeper.py."""
        self._groups.add(group)

    def end(self) -> None:
        """Wait for keeper.py to kill all process groups and end, and kill any group that still exists."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        keeper.end_groups(group for group in self._groups if keeper.is_there(group))  # in case keeper.py has died


class _Child:
    """One supervised process, which is restarted when it ends."""

    def __init__(
        self, name: str, command: Sequence[str], working_folder: Path | None, patience: Patience, log: UpLog
    ) -> None:
        self._log = log
        self._name = name
        self._command = command
        self._working_folder = working_folder
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._due_at = 0.0
        self._num_deaths = 0
        self._lines: deque[str] = deque(maxlen=20)
        self._reader: threading.Thread | None = None
        self._last_words = ""
        self._num_same_words = 0

    def look(self, groups: _Keeper) -> None:
        """Start the process if its start is due. If it has ended, report this and when it will be restarted."""
        if self._process is None:
            if time.monotonic() >= self._due_at:
                self._start(groups)
        elif (status := self._process.poll()) is not None:
            self._note_death(status)

    def is_alive(self) -> bool:
        """Return whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def interrupt(self) -> None:
        """Send SIGINT to the process if it is running."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def _start(self, groups: _Keeper) -> None:
        # The process gets its own session and process group, so that Ctrl-C reaches it only once, through us, and its
        # children can be ended with it. It reports itself to the keeper before it runs the command, so that the keeper
        # knows it from the start.
        self._process = subprocess.Popen(  # noqa: S603 - a list of our own making, no shell
            self._command,
            cwd=self._working_folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # Dagster's servers log mostly to their standard output
            start_new_session=True,
            preexec_fn=partial(_tell, groups.pipe),
        )
        groups.add(self._process.pid)
        self._started_at = time.monotonic()
        assert self._process.stdout is not None
        self._lines.clear()
        self._reader = threading.Thread(
            target=_pass_on, args=(self._process.stdout, self._lines, self._log), daemon=True
        )
        self._reader.start()

    def _note_death(self, status: int) -> None:
        now = time.monotonic()
        lived = now - self._started_at
        if lived >= self._patience.lived_seconds:
            self._num_deaths = self._num_same_words = 0
        self._num_deaths += 1
        delay = self._patience.delay_seconds(self._num_deaths)
        self._process, self._due_at = None, now + delay
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        echo(
            f"the {self._name} {how} after {lived:.0f} s; it will be restarted in {delay:.0f} s{self._log.hint}",
            err=True,
        )
        assert self._reader is not None
        self._reader.join(_LOOK_SECONDS)  # with a timeout, since children of the process may still write to the pipe
        words = next((line for line in reversed(self._lines) if line), "")
        is_same = bool(words) and _NUMBERS.sub("", words) == _NUMBERS.sub("", self._last_words)
        self._last_words = words
        self._num_same_words = self._num_same_words + 1 if is_same else 1
        if self._num_same_words == _NUM_SAME_WORDS:
            echo(
                f"the {self._name} has ended {_NUM_SAME_WORDS} times with the same message; correct its cause: {words}",
                err=True,
            )


def _tell(pipe: int) -> None:
    with suppress(OSError):  # the keeper has just died, and is restarted with all groups
        os.write(pipe, b"%d\n" % os.getpid())


def _pass_on(pipe: IO[bytes], lines: "deque[str]", log: UpLog) -> None:
    """Pass the lines from a pipe on to the log, and append them to `lines`."""
    with pipe:
        for line in pipe:
            lines.append(log.take(line))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
