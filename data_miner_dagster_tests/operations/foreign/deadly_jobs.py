"""Run the jobs of `extraction/jobs.py` in a process that is killed or stopped by pictures which say so."""

import os
import signal
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.operations.extraction.jobs import JOBS, main
from data_miner_dagster.workers.serving import Job

MODULE: Final = "data_miner_dagster_tests.operations.foreign.deadly_jobs"
DEADLY: Final = b"this picture kills whoever looks at it"
DEADLY_ONCE: Final = b"this picture kills the first who looks at it"
HOLDING: Final = b"this picture holds whoever looks at it"


def _deadly(job: Job) -> Job:
    def run(arguments: dict[str, Any]) -> Any:
        path = Path(arguments["path"])
        content, mark = path.read_bytes(), path.with_suffix(".died")
        if DEADLY in content or (DEADLY_ONCE in content and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if HOLDING in content:
            os.kill(os.getpid(), signal.SIGSTOP)
        return job(arguments)

    return run


if __name__ == "__main__":
    main({name: _deadly(job) for name, job in JOBS.items()})
