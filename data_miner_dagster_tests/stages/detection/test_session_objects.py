"""Objects across sessions of limited length, with hand-written boxes and masks."""

import numpy as np

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.tracks import SeenObject
from data_miner_dagster.stages.detection.session_objects import (
    NUMBERS_PER_SESSION,
    FrameRun,
    ObjectNumbers,
    SessionTracker,
    session_runs,
)


def seen(number: int, left: int, *, class_index: int = 0, confidence: float = 0.8, prompt: str = "car") -> SeenObject:
    """Return an object of 40 x 40 pixels with its left edge at `left`."""
    pixels = np.zeros((60, 200), np.bool_)
    pixels[10:50, left : left + 40] = True
    return SeenObject(number, class_index, prompt, confidence, (left, 10, left + 40, 50), Mask.of(pixels))


def numbers_of(found: list[SeenObject]) -> list[int]:
    return [each.number for each in found]


def test_session_runs__stretches_of_limited_length() -> None:
    def is_broken(one: int, other: int) -> bool:
        return other - one > 1

    assert list(session_runs([], is_broken)) == []
    runs = session_runs([1, 2, 3, 4, 5, 9, 10], is_broken, num_frames=3, num_repeated=2)
    assert list(runs) == [FrameRun(0, [], [1, 2, 3]), FrameRun(1, [2, 3], [4, 5]), FrameRun(2, [], [9, 10])]


def test_object_numbers__two_phrases_on_one_object_are_one_object() -> None:
    numbers = ObjectNumbers(2)
    taxi = seen(1, 14, prompt="taxi", confidence=0.9)
    person = seen(2, 10, class_index=1)
    found = numbers.numbered([seen(0, 10), taxi, person])
    first = 2 * NUMBERS_PER_SESSION
    assert numbers_of(found) == [first, first + 1], "another class is another object, wherever it is"
    assert (found[0].prompt, found[0].confidence) == ("taxi", 0.9), "the surer of both"
    apart = numbers.numbered([seen(0, 10), seen(1, 100, prompt="taxi"), seen(3, 60)])
    assert numbers_of(apart) == [first, first + 2], "what was one object once remains one"


def test_object_numbers__take_on_those_of_the_session_before() -> None:
    numbers = ObjectNumbers(1)
    before = [seen(7, 0), seen(9, 100), seen(11, 100, class_index=1)]
    now = [seen(0, 104), seen(1, 6), seen(2, 160)]
    numbers.repeat(now, before)
    assert numbers_of(numbers.numbered(now)) == [7, 9, NUMBERS_PER_SESSION]
    numbers.repeat([seen(3, 4), seen(1, 6)], [seen(7, 0)])
    assert numbers_of(numbers.numbered([seen(3, 40)])) == [NUMBERS_PER_SESSION + 1], "7 has its object"


def test_session_tracker__each_box_and_object_once() -> None:
    tracker = SessionTracker(start_confidence=0.2)
    boxes = np.array([[0, 10, 40, 50], [5, 10, 45, 50], [120, 10, 160, 50], [120, 10, 160, 50]], np.float64)
    confidences = np.array([0.9, 0.8, 0.3, 0.1])
    numbers = tracker.update(boxes, confidences, 0.0, [seen(4, 4), seen(5, 180)]).tolist()
    assert numbers[1] == 4
    assert numbers[0] != numbers[2]
    assert min(numbers[0], numbers[2]) > 10, "they are objects that nobody else has seen"
    assert numbers[3] == -1, "too weak to be one"
    assert tracker.update(boxes, confidences, 1.0, None).tolist() == [-1] * 4, "nobody has looked"
    assert tracker.update(boxes[:0], confidences[:0], 2.0, []).tolist() == []
