"""Test the process that extracts frames, and that its modules do not affect other processes."""

import subprocess
import sys

from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.pool import WorkerPool
from data_miner_dagster_tests.operations.extraction import counting_jobs


def test_main__a_worker_uses_one_thread_of_opencv() -> None:
    with WorkerPool(counting_jobs.MODULE) as pool:
        assert pool.call("count_threads", {}, limits=WorkerLimits(60, 60, 512 << 20)) == 1


def test_import__leaves_the_threads_of_opencv_as_they_are() -> None:
    imported = "import data_miner_dagster.operations.extraction.jobs"
    code = f"import cv2; cv2.setNumThreads(3); {imported}; print(cv2.getNumThreads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "3"


def test_main__no_worker_imports_pandas_for_a_table() -> None:
    with WorkerPool(counting_jobs.MODULE) as pool:
        assert pool.call("imports_pandas", {}, limits=WorkerLimits(60, 60, 512 << 20)) is False
