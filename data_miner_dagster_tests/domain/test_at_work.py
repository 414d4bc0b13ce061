from collections.abc import Generator, Iterator
from contextvars import copy_context

import pytest

from data_miner_dagster.domain.at_work import AtWork, InheritingThreads, at_work, inheriting_thread, working_on


def test_working_on__nothing_before_and_after_also_if_it_raises() -> None:
    assert at_work() == AtWork()
    seen: list[AtWork] = []

    def fail() -> None:
        with working_on(run_id="r1", stage="extraction"):
            seen.append(at_work())
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()
    assert seen == [AtWork(run_id="r1", stage="extraction")]
    assert at_work().known() == {}


def test_working_on__adds_to_what_was_said_and_none_leaves_it() -> None:
    with working_on(run_id="r1", stage="side_by_side"), working_on(stage="embedding", video=None, project="cats"):
        with working_on(video="files-a"):
            assert at_work().known() == {"run_id": "r1", "stage": "embedding", "project": "cats", "video": "files-a"}
        assert at_work().video is None


def test_inheriting_threads__each_task_has_what_its_submitter_works_on() -> None:
    with InheritingThreads(1) as pool:
        with working_on(video="files-a"):
            first = pool.submit(at_work)
        with working_on(video="files-b"):
            seen = list(pool.map(lambda _: at_work().video, range(2)))
        assert first.result() == AtWork(video="files-a")
        assert seen == ["files-b", "files-b"]
        assert pool.submit(at_work).result() == AtWork()


def test_inheriting_thread__works_in_the_context_of_its_maker() -> None:
    found: list[tuple[str, AtWork]] = []

    def work(word: str) -> None:
        found.append((word, at_work()))

    with working_on(stage="downloading"):
        thread = inheriting_thread(work, "given", name="downloading")
    thread.start()
    thread.join()
    assert found == [("given", AtWork(stage="downloading"))]


def test_working_on__a_generator_that_is_closed_in_another_context() -> None:
    def blocks() -> Iterator[None]:
        with working_on(run_id="r1"):
            yield

    begun = blocks()
    copy_context().run(next, begun)
    assert isinstance(begun, Generator)
    begun.close()
    assert at_work() == AtWork()
