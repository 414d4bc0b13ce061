"""Test ByteTrack with the colours of boxes as a second cue; boxes and colours are written by hand."""

from collections.abc import Sequence

import numpy as np

from data_miner_dagster.domain.colours import NUM_COLOUR_BINS, Colours
from data_miner_dagster.models.trackers.byte_track import ByteTracker

Place = tuple[float, int | None]  # the left edge of a box and its colour bin


def numbers(frames: Sequence[Sequence[Place]], *, has_colours: bool = True) -> list[list[int]]:
    """Return the track number of each 40 x 30 pixel box, on frames a quarter of a second apart."""
    tracker = ByteTracker(lost_seconds=3, every_seconds=0.25, start_confidence=0.2)
    return [
        tracker.update(
            np.array([[left, 10, left + 40, 40] for left, _ in places], np.float64).reshape(-1, 4),
            np.full(len(places), 0.8),
            number / 4,
            None,
            [None if colour is None else _colours(colour) for _, colour in places] if has_colours else (),
        ).tolist()
        for number, places in enumerate(frames)
    ]


def _colours(colour: int) -> Colours:
    colours = np.zeros(NUM_COLOUR_BINS, np.uint8)
    colours[[colour, colour + 1]] = 180
    return colours


MEETING = [[(10.0 + 8 * number, 0), (210.0 - 8 * number, 50)] for number in range(8)]
"""Two objects approach each other until they are side by side."""
TURNED = [[(74.0 - 8 * number, 0), (146.0 + 8 * number, 50)] for number in range(1, 8)]
"""The two objects turn back after having been hidden."""


def test_update__objects_that_turn_where_they_meet_are_known_by_their_colours() -> None:
    hidden: list[list[Place]] = [[]] * 7
    ways = numbers([*MEETING, *hidden, *TURNED])
    assert {tuple(way) for way in ways if way} == {(0, 1)}
    by_motion = numbers([*MEETING, *hidden, *TURNED], has_colours=False)
    assert by_motion[-1] != [0, 1], "motion alone takes one for the other, or for a new object"


def test_update__objects_that_look_alike_are_matched_as_without_colours() -> None:
    alike = [[(left, 0) for left, _ in places] for places in (*MEETING, *TURNED)]
    assert numbers(alike) == numbers(alike, has_colours=False)


def test_update__unknown_colours_change_nothing() -> None:
    unknown: list[list[Place]] = [[(left, None) for left, _ in places] for places in (*MEETING, *TURNED)]
    assert numbers(unknown) == numbers(unknown, has_colours=False)


def test_update__a_false_box_beside_an_object_does_not_take_its_number() -> None:
    still: list[list[Place]] = [[(100.0, 0)]] * 6
    gone: list[list[Place]] = [[(118.0, 50)]]  # it overlaps the object's place but looks different
    ways = numbers([*still, *gone, *still])
    assert ways == [[0]] * 6 + [[1]] + [[0]] * 6
    assert numbers([*still, *gone], has_colours=False)[-1] == [0]


def test_update__is_the_same_each_time() -> None:
    frames = [*MEETING, *TURNED]
    assert numbers(frames) == numbers(frames)
