"""Test the lock that is released when its process ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_miner_dagster.storage.root_lock import LockHeldError, take_root_lock
from data_miner_dagster_tests.end_to_end.commands import environment

HOLDER = """
import sys, time
from pathlib import Path
from data_miner_dagster.storage.root_lock import take_root_lock
take_root_lock(Path(sys.argv[1]))
print("has it", flush=True)
time.sleep(600)
"""


def test_take_root_lock__says_who_has_it_and_ends_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], env=environment(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"has it\n"
        with pytest.raises(LockHeldError) as held:
            take_root_lock(path)
        holder = held.value.holder
        assert holder is not None
        assert (holder.pid, holder.is_gone()) == (process.pid, False)
        assert f"is locked by process {process.pid} on " in str(held.value)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert holder.is_gone()
    os.close(take_root_lock(path))


def test_take_root_lock__what_a_file_says_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    path.write_text("no JSON")
    file = take_root_lock(path)
    path.write_text("[]")
    with pytest.raises(LockHeldError, match="another process") as held:
        take_root_lock(path)
    assert held.value.holder is None
    os.close(file)
