"""Processes that die and are restarted by a supervisor, which is a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from data_miner_dagster.cli.keeper import is_there
from data_miner_dagster.cli.supervision import Patience
from data_miner_dagster.cli.up_log import UpLog
from data_miner_dagster_tests.end_to_end.commands import environment
from data_miner_dagster_tests.support.waiting import wait_until

SUPERVISOR = """
import json, sys
from data_miner_dagster.cli.supervision import Patience, supervise
sys.exit(supervise(json.loads(sys.argv[1]), patience=Patience(.05, .2, 60, 2)))
"""
# a process and its child, which both keep running; the file with their ids appears only when it is complete
FAMILY = """
import os, signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn])
open(sys.argv[1] + ".new", "w").write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""


class Supervisor:
    def __init__(self, folder: Path, **commands: Sequence[str]) -> None:
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISOR, json.dumps({name: list(line) for name, line in commands.items()})],
                env=environment(),
                stderr=log,
                start_new_session=True,
            )

    def wait_for(self, look: Callable[[], bool]) -> None:
        def is_so() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return look()

        wait_until(is_so, self.log.read_text)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[tuple[Supervisor, Path]]:
    told = tmp_path / "pids"
    supervisor = Supervisor(tmp_path, server=[sys.executable, "-c", FAMILY, str(told)])
    supervisor.wait_for(told.exists)
    yield supervisor, told
    if supervisor.process.poll() is None:
        supervisor.process.kill()
        supervisor.process.wait()


def wait_until_gone(pids: Sequence[int]) -> None:
    """Wait until all processes are gone; a zombie counts as gone."""

    def is_alive(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
        except FileNotFoundError:
            return False

    wait_until(lambda: not any(map(is_alive, pids)))


def test_delay_seconds__doubles_up_to_a_minute() -> None:
    delays = [Patience().delay_seconds(deaths) for deaths in (1, 2, 3, 6, 7, 8, 1000)]
    assert delays == [1, 2, 4, 32, 60, 60, 60]


def test_supervise__what_is_killed_is_started_again_and_said(family: tuple[Supervisor, Path]) -> None:
    supervisor, told = family
    first, grandchild = map(int, told.read_text().split())
    told.unlink()
    os.kill(first, signal.SIGKILL)
    supervisor.wait_for(told.exists)
    second, _ = map(int, told.read_text().split())
    assert second != first
    assert is_there(first)  # its child continues, as the runs of a dead daemon do
    said = r"the server was killed by SIGKILL after \d+ s; it will be restarted in 0 s"
    assert re.search(said, supervisor.log.read_text())
    supervisor.process.send_signal(signal.SIGINT)
    assert supervisor.process.wait(60) == 130
    wait_until_gone([grandchild, *map(int, told.read_text().split())])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_supervise__takes_all_down_however_it_ends(
    family: tuple[Supervisor, Path], number: signal.Signals, status: int
) -> None:
    supervisor, told = family
    os.killpg(supervisor.process.pid, number)
    assert supervisor.process.wait(60) == status
    wait_until_gone([*map(int, told.read_text().split())])


def test_supervise__the_same_last_words_are_said(tmp_path: Path) -> None:
    words = "import os, sys; sys.exit(f'no memory for process {os.getpid()}')"
    supervisor = Supervisor(tmp_path, daemon=[sys.executable, "-c", words])
    said = "the daemon has ended 3 times with the same message; correct its cause: no memory for process "
    supervisor.wait_for(lambda: said in supervisor.log.read_text())
    supervisor.process.send_signal(signal.SIGINT)
    assert supervisor.process.wait(60) == 130
    assert supervisor.log.read_text().count(said) == 1


def test_up_log__everything_is_in_the_file_without_colours_and_nothing_on_the_terminal(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_miner_dagster.cli.up_log._MAX_BYTES", 30)
    line = b"\x1b[32m2026-01-02\x1b[0m - daemon - looked\n"
    quiet = UpLog(tmp_path / "up.log")
    assert quiet.take(line) == "2026-01-02 - daemon - looked"
    assert quiet.hint == f"; its log is in {tmp_path / 'up.log'}"
    assert capfdbinary.readouterr().err == b""
    assert (tmp_path / "up.log").read_bytes() == b"2026-01-02 - daemon - looked\n"
    quiet.take(line)
    assert len((tmp_path / "up.log.1").read_bytes().splitlines()) == 2  # at its size limit, the log starts over
    UpLog(tmp_path / "up.log", is_shown=True).take(line)
    assert capfdbinary.readouterr().err == b"2026-01-02 - daemon - looked\n"  # standard error is not a terminal
    assert UpLog().hint == ""
    UpLog(tmp_path).take(line)  # a log that cannot be written raises no error
