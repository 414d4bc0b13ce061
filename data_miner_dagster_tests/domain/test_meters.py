"""Tests with real threads and a real worker's clock that meters count everything exactly once."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data_miner_dagster.domain.at_work import InheritingThreads
from data_miner_dagster.domain.measurements import AMOUNTS, Measured, measured_from_told
from data_miner_dagster.domain.meters import Meter, current_meter, floor_of, for_current_meter, model_call, note
from data_miner_dagster.domain.work import WorkStage

BURNT = 0.08


def burn(seconds: float = BURNT) -> None:
    """Use this much CPU time in the calling thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_measured__sum_of_none_and_of_two() -> None:
    assert sum([], Measured()) == Measured()
    assert Measured(num_requests=1, cpu_seconds=0.5) + Measured(num_requests=2, wall_seconds=3) == Measured(
        num_requests=3, cpu_seconds=0.5, wall_seconds=3
    )
    assert Measured(num_boxes=2).told() == {"num_boxes": 2}


def test_measured_from_told__keeps_only_what_can_be_a_cost() -> None:
    told = {"num_requests": 2, "cpu_seconds": float("inf"), "wall_seconds": -1, "bytes_received": "many", "x": 1}
    told |= {"num_boxes": 10**400, "num_frames": float("nan")}
    assert measured_from_told(told) == Measured(num_requests=2)
    assert set(Measured(*range(1, len(AMOUNTS) + 1)).told()) == set(AMOUNTS)


def test_note__without_a_meter_does_nothing() -> None:
    assert current_meter() is None
    note(Measured(num_requests=1))
    with model_call(object()):
        pass


def test_working__counts_its_thread_and_those_that_work_for_it() -> None:
    meter = Meter(WorkStage.DOWNLOADING, "a")
    with meter.working(), ThreadPoolExecutor(1) as threads:
        burn()
        threads.submit(for_current_meter(burn)).result()
        threads.submit(burn).result()  # belongs to no meter
        note(Measured(num_requests=1))
        taken = meter.take()
    burn()
    assert taken.num_requests == 1
    assert 2 * BURNT <= taken.cpu_seconds < 3 * BURNT
    assert meter.take().cpu_seconds < BURNT


def test_working__in_a_thread_that_inherits_what_is_at_work() -> None:
    meter = Meter()
    with meter.working(), InheritingThreads(1) as threads:
        assert threads.submit(current_meter).result() is meter
        threads.submit(for_current_meter(burn)).result()
        taken = meter.take()
    assert BURNT <= taken.cpu_seconds < 2 * BURNT


def test_working__for_another_meter_meanwhile_is_not_counted() -> None:
    outer, inner = Meter(), Meter()
    with outer.working():
        burn()
        with inner.working():
            burn(2 * BURNT)
            note(Measured(num_requests=1))
        assert current_meter() is outer
        with outer.working():  # entered again: nothing is counted twice
            burn()
    assert 2 * BURNT <= inner.take().cpu_seconds < 3 * BURNT
    of_outer = outer.take()
    assert 2 * BURNT <= of_outer.cpu_seconds < 3 * BURNT
    assert of_outer.num_requests == 0


def test_of_process__counts_what_no_other_meter_counts() -> None:
    process, of_thread = Meter(of_process=True), Meter()

    def work() -> None:
        with of_thread.working():
            burn(2 * BURNT)

    began = time.process_time()
    with process.working():
        in_thread(work)
        in_thread(burn)
        in_thread(lambda: note(Measured(num_boxes=1)))  # a thread without a meter of its own
        taken = process.take()
    spent = time.process_time() - began
    assert taken.num_boxes == 1
    assert taken.cpu_seconds + of_thread.take().cpu_seconds == pytest.approx(spent, abs=BURNT / 2)
    assert BURNT <= taken.cpu_seconds < 2 * BURNT


def test_of_process__two_at_once_share() -> None:
    one, other = Meter(of_process=True), Meter(of_process=True)
    began = time.process_time()
    with one.working():
        burn()
        with other.working():
            burn(2 * BURNT)
    spent = time.process_time() - began
    assert one.take().cpu_seconds + other.take().cpu_seconds == pytest.approx(spent, abs=BURNT / 2)
    assert current_meter() is None


def test_with_libraries__counts_threads_that_python_did_not_start() -> None:
    """FAISS searches in OpenMP threads. A small search may use only the calling thread."""
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        vectors = np.random.default_rng(0).random((3000, 64), np.float32)
        index = faiss.IndexFlatIP(64)
        index.add(vectors)
        meter = Meter(with_libraries=True)
        began = time.process_time()
        with meter.working():
            index.search(vectors, 5)
            taken = meter.take()
        spent = time.process_time() - began
    finally:
        faiss.omp_set_num_threads(before)
    assert taken.cpu_seconds == pytest.approx(spent, rel=0.3, abs=0.02)


def test_floor_of__counts_the_time_to_get_each_item() -> None:
    def slow() -> Iterator[int]:
        for number in range(2):
            time.sleep(0.03)
            yield number

    meter = Meter()
    with meter.working():
        for _ in floor_of(slow()):
            time.sleep(0.05)
    taken = meter.take()
    assert 0.06 <= taken.floor_seconds < taken.wall_seconds - 0.09


@pytest.mark.parametrize(("device", "is_on_gpu"), [("cuda:1", True), ("cpu", False), (None, False)])
def test_model_call__is_gpu_time_on_a_gpu(device: str | None, is_on_gpu: bool) -> None:
    class Model:
        pass

    model = Model()
    if device is not None:
        model.device = device  # type: ignore[attr-defined]
    meter = Meter()
    with meter.working(), model_call(model):
        time.sleep(0.02)
    taken = meter.take()
    assert taken.floor_seconds >= 0.02
    assert taken.gpu_seconds == (taken.floor_seconds if is_on_gpu else 0.0)
