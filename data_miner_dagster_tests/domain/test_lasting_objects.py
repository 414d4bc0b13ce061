"""Tests that the garbage collector pauses while lasting objects are created and ignores them afterwards."""

import gc
import threading

import pytest

from data_miner_dagster.domain.lasting_objects import creating_lasting_objects


def test_creating_lasting_objects__are_ignored_afterwards() -> None:
    with creating_lasting_objects():
        assert not gc.isenabled()
        lasting = [object()]
    assert gc.isenabled()
    assert not any(known is lasting for known in gc.get_objects())
    later = [object()]
    assert any(known is later for known in gc.get_objects())


def test_creating_lasting_objects__nested() -> None:
    with creating_lasting_objects():
        with creating_lasting_objects():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_creating_lasting_objects__that_cannot_be_created() -> None:
    with pytest.raises(ZeroDivisionError), creating_lasting_objects():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_creating_lasting_objects__of_two_threads_at_once() -> None:
    may_end = threading.Event()
    has_begun = threading.Event()

    def create() -> None:
        with creating_lasting_objects():
            has_begun.set()
            may_end.wait()

    other = threading.Thread(target=create)
    with creating_lasting_objects():
        other.start()
        has_begun.wait()
    assert not gc.isenabled()
    may_end.set()
    other.join()
    assert gc.isenabled()
