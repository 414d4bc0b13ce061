"""Test the pool with real processes that hang, die, grow and fail."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.domain.at_work import AtWork, InheritingThreads, at_work, working_on
from data_miner_dagster.domain.errors import SourceError, VideoTransientError
from data_miner_dagster.domain.meters import Meter
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.workers.errors import (
    WorkerDiedError,
    WorkerFaultError,
    WorkerLimitError,
    WorkersClosedError,
)
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.nursery import Nursery
from data_miner_dagster.workers.pool import WorkerPool
from data_miner_dagster_tests.support.waiting import wait_until

JOBS = "data_miner_dagster_tests.workers.jobs_for_tests"


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(JOBS) as pool:
        yield pool


def is_running(process_id: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_call__answers_and_reuses_its_worker(pool: WorkerPool) -> None:
    assert pool.call("echo", {"text": "ä\n", "list": [1, None]}) == {"text": "ä\n", "list": [1, None]}
    first = pool.call("process", {})
    assert pool.call("process", {}) == first != os.getpid()
    assert first in pool.process_ids


def test_call__several_at_once_have_workers_of_their_own(pool: WorkerPool) -> None:
    meeting = threading.Barrier(4)

    def answer(_name: str, _arguments: dict[str, Any]) -> dict[str, int]:
        meeting.wait(60)  # no job gets its answer before all four have asked
        return {"value": 1}

    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(pool.call, "add", {"count": 1}, on_call=answer) for _ in range(4)]
        assert [job.result() for job in jobs] == [1, 1, 1, 1]
    assert len(pool.process_ids) == 4


def test_call__no_more_workers_than_its_size() -> None:
    with WorkerPool(JOBS, size=1) as pool, ThreadPoolExecutor(3) as threads:
        assert len(set(threads.map(lambda _: pool.call("process", {}), range(9)))) == 1


@pytest.mark.parametrize(
    ("job", "arguments", "limits", "which"),
    [
        ("hold_the_lock", {}, WorkerLimits(wall_seconds=0.3), "wall"),
        ("sleep", {"seconds": 60}, WorkerLimits(wall_seconds=0.3), "wall"),
        ("hold_the_lock", {}, WorkerLimits(wall_seconds=100, cpu_seconds=0.5), "cpu"),
        ("grow", {"num_bytes": 300 << 20}, WorkerLimits(memory_bytes=200 << 20), "memory"),
    ],
)
def test_call__a_limit_ends_the_job_and_replaces_the_worker(
    pool: WorkerPool, job: str, arguments: dict[str, Any], limits: WorkerLimits, which: str
) -> None:
    before = pool.call("process", {})
    with pytest.raises(WorkerLimitError) as failure:
        pool.call(job, arguments, limits=limits)
    assert failure.value.which == which
    assert not is_running(before)
    assert pool.call("process", {}) != before


def test_call__limits_are_of_one_job_and_not_of_all_before(pool: WorkerPool) -> None:
    """A worker that has used CPU time and memory may use as much again for the next job."""
    limits = WorkerLimits(cpu_seconds=1, memory_bytes=200 << 20)
    workers = {pool.call("process", {}, limits=limits) for _ in range(3)}
    assert pool.call("grow", {"num_bytes": 150 << 20}, limits=limits) == 150 << 20
    assert pool.call("grow", {"num_bytes": 300 << 20}) == 300 << 20  # without limits, no earlier limit applies
    assert pool.call("grow", {"num_bytes": 150 << 20}, limits=limits) == 150 << 20
    assert workers == {pool.call("process", {}, limits=limits)}


def test_call__a_worker_that_has_grown_for_good_makes_way(pool: WorkerPool) -> None:
    limits = WorkerLimits(memory_bytes=100 << 20)
    first = pool.call("keep", {"num_bytes": 20 << 20}, limits=limits)
    assert pool.call("keep", {"num_bytes": 40 << 20}, limits=limits) == first
    assert pool.call("process", {}) != first


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_call__a_death_says_how_with_the_last_words(pool: WorkerPool, name: str) -> None:
    with pytest.raises(WorkerDiedError, match=f"was ended by {name}: last words$"):
        pool.call("die", {"signal": name})
    with pytest.raises(WorkerDiedError, match=r"ended with code 3$"):
        pool.call("leave", {})
    assert pool.call("echo", {}) == {}


def test_call__an_exception_comes_back_with_class_message_and_place(pool: WorkerPool) -> None:
    before = pool.call("process", {})
    with pytest.raises(WorkerFaultError) as failure:
        pool.call("fail", {"how": "value"})
    assert str(failure.value) == "ValueError: of data_miner_dagster.domain.records in two lines"
    assert "jobs_for_tests.py" in failure.value.trace
    with pytest.raises(WorkerFaultError, match="Invalid IPv6 URL") as failure:
        pool.call("fail", {"how": "in_package"})
    assert failure.value.place.startswith("sites/keys.py:")
    with pytest.raises(WorkerFaultError, match="SystemExit"):
        pool.call("fail", {"how": "exit"})
    assert pool.call("process", {}) == before


def test_call__known_errors_come_back_as_themselves(pool: WorkerPool) -> None:
    with pytest.raises(SourceError, match=r"^a source$"):
        pool.call("fail", {"how": "source"})
    with pytest.raises(VideoTransientError, match=r"^wait$") as failure:
        pool.call("fail", {"how": "video"})
    assert (failure.value.kind, failure.value.retry_after_seconds) == (VideoErrorKind.RATE_LIMITED, 7.5)
    with pytest.raises(OSError, match="No space left") as disk:
        pool.call("fail", {"how": "disk"})
    assert (disk.value.errno, disk.value.filename) == (28, "/a/file")


def test_call__asks_its_caller(pool: WorkerPool) -> None:
    def answer(name: str, arguments: dict[str, Any]) -> dict[str, int]:
        assert name == "number"
        return {"value": 10 ** arguments["index"]}

    assert pool.call("add", {"count": 4}, on_call=answer) == 1111


def test_call__what_the_caller_raises_ends_the_job_and_is_raised_as_it_is(pool: WorkerPool) -> None:
    class OfCallerError(Exception):
        pass

    error = OfCallerError("mine")

    def answer(_name: str, _arguments: dict[str, Any]) -> None:
        raise error

    before = pool.call("process", {})
    with pytest.raises(OfCallerError) as failure:
        pool.call("add", {"count": 4}, on_call=answer)
    assert failure.value is error
    assert pool.call("process", {}) == before


def test_call__time_in_which_the_caller_answers_does_not_count(pool: WorkerPool) -> None:
    def answer(_name: str, _arguments: dict[str, Any]) -> dict[str, int]:
        time.sleep(3.1)
        return {"value": 1}

    # everything else may take three seconds, in case the machine is busy
    assert pool.call("add", {"count": 1}, limits=WorkerLimits(wall_seconds=3), on_call=answer) == 1


def test_notify__is_seen_in_the_midst_of_a_job(pool: WorkerPool) -> None:
    def answer(_name: str, _arguments: dict[str, Any]) -> None:
        threading.Timer(0.05, pool.notify).start()

    assert pool.call("wait_for_notice", {}, limits=WorkerLimits(wall_seconds=60), on_call=answer) == 1


def test_call__logs_as_its_caller_does(pool: WorkerPool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "data_miner_dagster")
    pool.call("log", {})
    assert [(record.name, record.message) for record in caplog.records] == [("data_miner_dagster.sites", "loudly")]
    caplog.set_level("DEBUG", "data_miner_dagster")
    pool.call("log", {})
    assert [record.message for record in caplog.records][1:] == ["finely", "loudly"]


def test_call__logs_about_what_its_caller_works_on(pool: WorkerPool) -> None:
    seen: list[AtWork] = []

    class Seeing(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            seen.append(at_work())

    handler, logger = Seeing(), logging.getLogger("data_miner_dagster.sites")
    logger.addHandler(handler)
    try:
        with InheritingThreads(2) as threads:
            for video in ("files-a", "files-b"):
                with working_on(stage="extraction", video=video):
                    threads.submit(pool.call, "log", {}).result()
    finally:
        logger.removeHandler(handler)
    assert seen == [AtWork(stage="extraction", video="files-a"), AtWork(stage="extraction", video="files-b")]


def test_environment__is_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("DATA_MINER_CATALOG_URL", "postgresql://me:secret@host/db")
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", "/models")
    monkeypatch.setenv("http_proxy", "http://me:secret@proxy")
    with WorkerPool(JOBS, environment=["DATA_MINER_MODEL_CACHE"]) as pool:
        seen = pool.call("environment", {})
    assert "secret" not in str(seen)
    assert seen["DATA_MINER_MODEL_CACHE"] == "/models"
    assert seen["PATH"] == os.environ["PATH"]


def test_close__ends_idle_and_busy_workers() -> None:
    pool = WorkerPool(JOBS)
    with ThreadPoolExecutor(1) as threads:
        ready = threading.Event()

        def answer(_name: str, _arguments: dict[str, Any]) -> None:
            ready.set()

        pool.call("process", {})
        waiting = threads.submit(pool.call, "wait_for_notice", {}, on_call=answer)
        assert ready.wait(60)
        process_ids = pool.process_ids
        pool.close()
        with pytest.raises(WorkersClosedError):
            waiting.result(60)
    with pytest.raises(ProcessLookupError):
        os.kill(process_ids[0], 0)
    with pytest.raises(WorkersClosedError):
        pool.call("process", {})
    pool.close()


def test_close__while_a_worker_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run may be interrupted at any moment, and must not wait for a worker that will never start."""
    pool = WorkerPool(JOBS)
    tell = Nursery._tell

    def closed_meanwhile(nursery: Nursery, message: dict[str, Any], files: list[int]) -> dict[str, Any]:
        if not message:
            pool.close()
        return tell(nursery, message, files)

    monkeypatch.setattr(Nursery, "_tell", closed_meanwhile)
    with ThreadPoolExecutor(1) as threads, pytest.raises(WorkersClosedError):
        threads.submit(pool.call, "process", {}).result(timeout=120)


def test_close__what_has_been_imported_serves_the_next_pool() -> None:
    parents = []
    for _ in range(2):
        with WorkerPool(JOBS) as pool:
            parents.append(pool.call("parent", {}))
    assert parents[0] == parents[1] != os.getpid()
    with WorkerPool(JOBS, environment=["PYTEST_CURRENT_TEST"]) as pool:
        assert pool.call("parent", {}) not in parents  # earlier pools must not see the variable, so no parent is shared


def test_beside__workers_of_its_own_from_the_same_interpreter() -> None:
    with WorkerPool(JOBS) as pool, pool.beside() as other:
        assert other.call("parent", {}) == pool.call("parent", {}) != os.getpid()
        first, second = pool.process_ids, other.process_ids
        assert len(first) == len(second) == 1
        assert first != second
        other.close()
        assert not is_running(second[0])
        assert pool.call("process", {}) == first[0]
    with pool.beside() as other, pytest.raises(WorkersClosedError):
        other.call("process", {})


def test_call__a_module_that_cannot_be_imported_says_so() -> None:
    with (
        WorkerPool("data_miner_dagster_tests.workers.no_such_module") as pool,
        pytest.raises(WorkerDiedError, match=r"ended with code 1: .*No module named"),
    ):
        pool.call("process", {})


def test_workers__die_with_the_process_of_their_pool() -> None:
    """Even a worker whose interpreter is blocked by a regular expression dies."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "data_miner_dagster_tests.workers.pool_process"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_running(worker))


def test_call__what_a_job_spends_is_noted_for_the_work_at_hand(pool: WorkerPool) -> None:
    meter = Meter()
    with meter.working():
        process_id = pool.call("spend", {"cpu_seconds": 0.2, "num_requests": 3})
        taken = meter.take()
    ticks = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    of_its_life = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    assert taken.num_requests == 3
    assert 0.2 <= taken.cpu_seconds <= of_its_life + 0.05


def test_call__what_a_killed_job_has_spent_is_noted(pool: WorkerPool) -> None:
    meter = Meter()
    with meter.working(), pytest.raises(WorkerLimitError):
        pool.call("spend_on", {"num_requests": 2}, limits=WorkerLimits(wall_seconds=2))
    taken = meter.take()
    assert taken.num_requests == 2  # reported before the job hung
    assert taken.cpu_seconds > 0
