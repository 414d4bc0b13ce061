"""Report how many threads OpenCV may use where frames are extracted, and whether tables import pandas there."""

import sys
from typing import Any, Final

import cv2
import pyarrow as pa

from data_miner_dagster.operations.extraction.jobs import main

MODULE: Final = "data_miner_dagster_tests.operations.extraction.counting_jobs"


def _count_threads(_arguments: dict[str, Any]) -> int:
    return cv2.getNumThreads()


def _imports_pandas(_arguments: dict[str, Any]) -> bool:
    assert pa.table({"number": [1, 2]}).num_rows == 2
    return sys.modules.get("pandas") is not None


if __name__ == "__main__":
    cv2.setNumThreads(3)  # the same number on every machine
    main({"count_threads": _count_threads, "imports_pandas": _imports_pandas})
