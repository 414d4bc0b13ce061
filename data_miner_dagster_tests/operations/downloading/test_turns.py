import threading
import time

from data_miner_dagster.operations.downloading.turns import Turns


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
    turns.put_back("a", 0.2)
    before = time.monotonic()
    assert turns.take() == "c"
    assert [turns.take(), turns.take()] == ["a", "b"]
    assert time.monotonic() - before >= 0.19


def test_turns__who_waits_is_woken_by_a_free_place_and_by_the_end() -> None:
    turns = Turns({"a": "x", "b": "x", "c": "x"}, concurrent_per_site=1)
    assert turns.take() == "a"
    taken: list[str | None] = []
    waiting = threading.Thread(target=lambda: taken.extend([turns.take(), turns.take()]))
    waiting.start()
    time.sleep(0.05)
    assert taken == []
    turns.done("a")
    time.sleep(0.05)  # it has "b" now, and waits for the place that it takes itself
    turns.stop()
    waiting.join(10)
    assert taken == ["b", None]
