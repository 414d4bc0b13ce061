"""A job that says how many threads OpenCV may use where frames are made."""

from typing import Any, Final

import cv2

from data_miner_dagster.operations.extraction.jobs import main

MODULE: Final = "data_miner_dagster_tests.operations.extraction.counting_jobs"


def _count_threads(_arguments: dict[str, Any]) -> int:
    return cv2.getNumThreads()


if __name__ == "__main__":
    cv2.setNumThreads(3)  # whatever machine this is
    main({"count_threads": _count_threads})
