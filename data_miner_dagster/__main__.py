"""`python -m data_miner_dagster` is `data-miner`: the process of the command line, from start to end."""

import atexit
import os
import sys
from contextlib import suppress

from data_miner_dagster.cli.main import main


def run_process() -> None:
    """Run the command line, and end this process with its status.

    Python's last search for unreachable objects would take seconds where torch or Dagster is loaded, and find nothing
    that matters, so the process ends without it, once all has been done that was registered for its end.
    """
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        status = ended.code or 0
    else:
        status = 0
    atexit._run_exitfuncs()  # noqa: SLF001 - what `sys.exit` calls
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    run_process()
