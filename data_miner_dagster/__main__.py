"""Run the command line as `python -m data_miner_dagster`, without Python's final garbage collection."""

import atexit
import os
import sys
from contextlib import suppress

from data_miner_dagster.domain.lasting_objects import creating_lasting_objects

with creating_lasting_objects():
    from data_miner_dagster.cli.main import main


def run_process() -> None:
    """Run the command line, and end this process with the exit status of the command.

    With torch or Dagster loaded, Python's final garbage collection would take seconds and free nothing that matters. So
    the process skips it, and ends after all registered exit handlers have run.
    """
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        status = ended.code or 0
    else:
        status = 0
    atexit._run_exitfuncs()  # noqa: SLF001 - called by `sys.exit`, too
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # no reader is left
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    run_process()
