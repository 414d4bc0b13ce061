"""End a command immediately on Ctrl-C, whatever it is doing.

Download threads and native library code could keep the process alive for minutes. So could Dagster, which delays
interrupts while it writes events. Ending immediately loses nothing: all our writes are atomic, and the next run takes
over the claims and runs of a process that has ended.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from data_miner_dagster.cli.output import echo

EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, the convention of shells
INTERRUPTED_LINE: Final = "interrupted; run again to continue"


@contextmanager
def ending_on_interrupt(line: Callable[[], str] = lambda: INTERRUPTED_LINE) -> Iterator[None]:
    """While the block runs, let Ctrl-C end the process immediately, with one line and status 130.

    Python's signal handlers are not used, because libraries replace them and they wait for the main thread. Outside the
    main thread, this context manager has no effect.

    Args:
        line: the function that returns the line. It is called in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = socket.socketpair()
    writing.setblocking(False)

    def listen() -> None:
        while signals := reading.recv(1):
            if signals[0] == signal.SIGINT:
                echo(line(), err=True)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(EXIT_INTERRUPTED)

    listener = threading.Thread(target=listen, name="interrupts", daemon=True)
    listener.start()
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    try:
        yield
    except KeyboardInterrupt:
        listener.join()  # the listener ends the process
    finally:
        signal.set_wakeup_fd(before)
        writing.close()
        listener.join()
        reading.close()
