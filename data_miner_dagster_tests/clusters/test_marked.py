"""No process of a cluster outlives the test that started it."""

import os
import signal
import subprocess
import uuid

from data_miner_dagster_tests.clusters.marked import marked, start_reaper
from data_miner_dagster_tests.support.waiting import wait_until


def test_start_reaper__kills_all_with_the_mark_and_what_they_have_started() -> None:
    mark = f"DATA_MINER_TEST_MARK={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    reaper = start_reaper(mark)
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; wait"], env={**os.environ, name: value}, stdout=subprocess.PIPE, text=True
    )
    bystander = subprocess.Popen(["sleep", "600"])
    assert shell.stdout is not None
    expected = sorted([shell.pid, int(shell.stdout.readline())])
    wait_until(lambda: sorted(marked(mark)) == expected)
    reaper.communicate()
    assert shell.wait() == -signal.SIGKILL
    assert marked(mark) == []
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    shell.stdout.close()
