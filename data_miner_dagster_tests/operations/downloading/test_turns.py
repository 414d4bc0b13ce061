import threading
import time

from data_miner_dagster.operations.downloading.turns import Turns
from data_miner_dagster_tests.support.waiting import wait_until


def take_all(turns: Turns) -> list[str]:
    taken = []
    while (key := turns.take()) is not None:
        taken.append(key)
        turns.done(key)
    return taken


def test_turns__none() -> None:
    assert Turns({}, concurrent_per_site=1).take() is None


def test_turns__in_the_order_in_which_they_are_wanted() -> None:
    assert take_all(Turns({"b": "x", "a": "y", "c": None, "d": "x"}, concurrent_per_site=1)) == ["b", "a", "c", "d"]


def test_turns__a_site_without_a_place_lets_others_go_first() -> None:
    turns = Turns({"a": "x", "b": "x", "c": "x", "d": "y", "e": None, "f": None}, concurrent_per_site=2)
    assert [turns.take() for _ in range(5)] == ["a", "b", "d", "e", "f"]
    turns.done("b")
    assert turns.take() == "c"
    assert turns.take() is None


def test_turns__who_was_too_early_comes_first_again_later() -> None:
    turns = Turns({"a": "x", "b": "x", "c": "y"}, concurrent_per_site=4)
    assert turns.take() == "a"
    turns.put_back("a", 3600)
    assert turns.take() == "c"  # the video from another site
    turns.done("c")
    before = time.monotonic()
    turns = Turns({"a": "x", "b": "x"}, concurrent_per_site=4)
    assert turns.take() == "a"
    turns.put_back("a", 0.2)
    assert [turns.take(), turns.take()] == ["a", "b"]
    assert time.monotonic() - before >= 0.2


def test_turns__who_waits_is_woken_by_a_free_place_and_by_the_end() -> None:
    turns = Turns({"a": "x", "b": "x", "c": "x"}, concurrent_per_site=1)
    assert turns.take() == "a"
    taken: list[str | None] = []

    def take_twice() -> None:
        for _ in range(2):
            taken.append(turns.take())

    waiting = threading.Thread(target=take_twice)
    waiting.start()
    time.sleep(0.05)
    assert taken == []
    turns.done("a")
    wait_until(lambda: taken == ["b"])
    # the thread is waiting, or about to wait, for the place that it holds itself
    turns.stop()
    waiting.join(60)
    assert taken == ["b", None]
