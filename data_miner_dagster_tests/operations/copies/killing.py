"""Kill a copying process at a request that the test chooses."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from data_miner_dagster_tests.operations.copies import copying_process
from data_miner_dagster_tests.support.buckets import Fault, FaultyBuckets


def kill_at_request(
    buckets: FaultyBuckets, settings: str, what: tuple[str, Path, str], *, method: str, path: str, after: int
) -> None:
    """Start a copying process and kill it at a matching request.

    `what` is the process's first three arguments: the kind of copy, the root and the address. The process is killed
    after `after` requests that match `method` and `path`, at the next one.
    """
    started: list[subprocess.Popen[bytes]] = []
    killing = Fault("call", method, path, after=after, call=lambda: os.kill(started[0].pid, signal.SIGKILL))
    buckets.faults.append(killing)
    arguments = [sys.executable, "-m", copying_process.__name__, *map(str, what), settings]
    started.append(subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}))
    assert started[0].wait(timeout=900) == -signal.SIGKILL
    assert killing.num_times == 0
    buckets.faults.clear()
    buckets.requests.clear()
