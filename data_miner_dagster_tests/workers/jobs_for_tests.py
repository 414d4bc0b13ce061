"""Jobs that misbehave, for the tests of the pool."""

import logging
import os
import re
import signal
import threading
import time
from typing import Any

from data_miner_dagster.domain.errors import SourceError, VideoTransientError
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import note
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import __name__ as _records  # any module of the package, for a message
from data_miner_dagster.sites.keys import key_of_url
from data_miner_dagster.workers.serving import ask, num_notices, serve, tell_spent

kept = bytearray()


def echo(arguments: dict[str, Any]) -> Any:
    print("a library prints")
    return arguments


def process(_: dict[str, Any]) -> Any:
    return os.getpid()


def parent(_: dict[str, Any]) -> Any:
    return os.getppid()


def environment(_: dict[str, Any]) -> Any:
    return dict(os.environ)


def hold_the_lock(_: dict[str, Any]) -> Any:
    """Match a regular expression that never ends and lets no other thread of the process run."""
    return re.match(r"(a+)+$", "a" * 60 + "b") is None


def sleep(arguments: dict[str, Any]) -> Any:
    time.sleep(arguments["seconds"])


def grow(arguments: dict[str, Any]) -> Any:
    return len(bytearray(arguments["num_bytes"]))


def keep(arguments: dict[str, Any]) -> Any:
    kept.extend(bytes(arguments["num_bytes"]))
    return os.getpid()


def die(arguments: dict[str, Any]) -> Any:
    os.write(2, b"first words\nlast words\n")
    os.kill(os.getpid(), signal.Signals[arguments["signal"]])


def leave(_: dict[str, Any]) -> Any:
    os._exit(3)


def fail(arguments: dict[str, Any]) -> Any:
    match arguments["how"]:
        case "value":
            raise ValueError(f"of {_records}\nin two lines")
        case "in_package":
            key_of_url("http://[::1")
        case "source":
            raise SourceError("a source")
        case "video":
            raise VideoTransientError(VideoErrorKind.RATE_LIMITED, "wait", 7.5)
        case "disk":
            raise OSError(28, "No space left on device", "/a/file")
        case "exit":
            raise SystemExit(1)


def add(arguments: dict[str, Any]) -> Any:
    return sum(ask("number", {"index": index})["value"] for index in range(arguments["count"]))


def wait_for_notice(_: dict[str, Any]) -> Any:
    before = num_notices()
    ask("ready", {})
    while num_notices() == before:
        time.sleep(0.001)
    return num_notices() - before


def log(_: dict[str, Any]) -> Any:
    logging.getLogger("data_miner_dagster.sites").debug("finely")
    logging.getLogger("data_miner_dagster.sites").warning("loudly")


def spend(arguments: dict[str, Any]) -> Any:
    """Spend CPU time in two threads, and note `num_requests` requests."""
    note(Measured(num_requests=arguments["num_requests"]))
    threads = [threading.Thread(target=_burn, args=(arguments["cpu_seconds"] / 2,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return os.getpid()


def spend_on(arguments: dict[str, Any]) -> Any:
    """Note and report `num_requests` requests, and then work until the job is killed."""
    note(Measured(num_requests=arguments["num_requests"]))
    tell_spent()
    _burn(60)


def _burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


JOBS = {
    function.__name__: function
    for function in (
        echo,
        process,
        parent,
        environment,
        hold_the_lock,
        sleep,
        grow,
        keep,
        die,
        leave,
        fail,
        add,
        wait_for_notice,
        log,
        spend,
        spend_on,
    )
}

if __name__ == "__main__":
    serve(JOBS)
