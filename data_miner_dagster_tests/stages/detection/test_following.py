"""Objects followed from frame to frame by the real tracker, with hand-written boxes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.tracking import TrackingConfig
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ImageDetections
from data_miner_dagster.domain.tracks import BoxTrack, SeenObject, Sighting
from data_miner_dagster.models.trackers.byte_track import ByteTracker
from data_miner_dagster.stages.detection.boxes import FrameDetections
from data_miner_dagster.stages.detection.following import FollowedFrame, Follower, ObservedFrame, follow
from data_miner_dagster.stages.detection.session_objects import SessionTracker

TRACKING = TrackingConfig(window_seconds=1.0, every_seconds=0.5)
Found = tuple[int, float, tuple[float, float, float, float]]  # class, confidence, box


def tracker() -> ByteTracker:
    return ByteTracker(lost_seconds=3, every_seconds=0.5, start_confidence=0.2)


def observed(number: int, found: list[Found], *, is_wanted: bool = True, width: int = 100) -> ObservedFrame[int]:
    found = sorted(found, key=lambda one: -one[1])
    detections = ImageDetections(
        np.array([box for *_, box in found], np.float32).reshape(-1, 4),
        np.array([confidence for _, confidence, _ in found], np.float32),
        np.array([class_index for class_index, *_ in found], np.int32),
        tuple(f"class {class_index}" for class_index, *_ in found),
        (None,) * len(found),
    )
    return ObservedFrame(
        number, number / 2, (width, 100), FrameDetections(detections, np.ones(len(found), np.int32)), is_wanted
    )


def followed(frames: list[list[Found]], config: TrackingConfig = TRACKING) -> list[FollowedFrame[int]]:
    return list(follow([observed(number, found) for number, found in enumerate(frames)], config, tracker))


def boxes_of(frame: FollowedFrame[int]) -> list[tuple[float, BoxTrack]]:
    assert frame.found.tracks is not None
    confidences = [round(confidence, 4) for confidence in frame.found.detections.confidences.tolist()]
    return list(zip(confidences, frame.found.tracks, strict=True))


def moving(number: int, confidence: float = 0.8) -> Found:
    return (0, confidence, (10.0 + 4 * number, 10, 40.0 + 4 * number, 40))


def test_follow__no_frames_and_a_frame_alone() -> None:
    assert followed([]) == []
    [alone] = followed([[moving(0)]])
    assert boxes_of(alone) == [(0.8, BoxTrack())], "nobody can say anything against it"


def test_follow__a_missing_box_returns_between_its_neighbours() -> None:
    frames = followed([[moving(0)], [moving(1, 0.6)], [], [moving(3, 0.7)], [moving(4)]])
    assert [frame.frame for frame in frames] == [0, 1, 2, 3, 4]
    assert boxes_of(frames[2]) == [(0.6, BoxTrack(1, (Sighting(0.5, 0.6), Sighting(1.5, 0.7))))]
    assert frames[2].found.detections.boxes_xyxy.tolist() == [[18, 10, 48, 40]]
    assert frames[2].found.detections.prompts == ("class 0",)
    assert {track for frame in frames for _, track in boxes_of(frame) if not track.recovered_from} == {BoxTrack(1)}
    unrecovered = followed([[moving(0)], [moving(1)], [], [moving(3)]], TRACKING.model_copy(update={"recover": False}))
    assert boxes_of(unrecovered[2]) == []


def test_follow__a_box_that_nobody_owns_is_taken_for_the_missing_one() -> None:
    weak = (0, 0.1, (19.0, 11, 49.0, 41))  # too weak for a track, but at the object's expected place
    frames = followed([[moving(0)], [moving(1)], [weak], [moving(3)], [moving(4)]])
    assert boxes_of(frames[2]) == [(0.1, BoxTrack(1))]


def test_follow__a_phantom_loses_confidence_and_is_no_object() -> None:
    phantom = (0, 0.8, (60.0, 60, 90.0, 90))
    frames = followed([[moving(0)], [moving(1)], [moving(2), phantom], [moving(3)], [moving(4)]])
    assert sorted(boxes_of(frames[2]), key=lambda box: box[0]) == [(0.2, BoxTrack()), (0.8, BoxTrack(1))]


def test_follow__a_phantom_in_the_place_of_a_missing_box_is_none() -> None:
    frames = followed([[moving(0)], [moving(1)], [(0, 0.8, (8.0, 20, 38.0, 50))], [moving(3)], [moving(4)]])
    assert boxes_of(frames[2]) == [
        (0.8, BoxTrack(1, (Sighting(0.5, 0.8), Sighting(1.5, 0.8)))),
        (0.2, BoxTrack()),
    ]


class ConfusedTracker:
    """Returns prescribed links, one of which is wrong."""

    def __init__(self, numbers: Sequence[Sequence[int]]) -> None:
        self._numbers = iter(numbers)

    def update(self, boxes_xyxy: np.ndarray, *_: object) -> np.ndarray:
        numbers = np.array(next(self._numbers), np.int64)
        assert len(numbers) == len(boxes_xyxy)
        return numbers


@pytest.mark.parametrize(("turns", "owner"), [(False, 1), (True, 2)], ids=["steady", "turning"])
def test_follow__a_box_within_a_long_gap_goes_to_the_object_that_moves_steadily(*, turns: bool, owner: int) -> None:
    """On frame 5, the tracker mistakes object 0 for object 1, which is nearby and was not detected there."""

    def at(left: float, top: float, confidence: float) -> Found:
        return (0, confidence, (left, top, left + 40, top + 40))

    places = {number: 10 + 8.0 * number for number in (0, 1, 2, 5, 8, 9, 10)}
    if turns:
        places |= {number: 66 - 8.0 * number for number in (8, 9, 10)}
    confidences = {number: 0.9 - 0.01 * number for number in range(11)}
    found, numbers = list[list[Found]](), list[list[int]]()
    for number in range(11):
        here = [(0, at(places[number], 10, confidences[number]))] if number in places else []
        here += [(1, at(56, 16, confidences[number] / 2))] if number != 5 else []
        found.append([box for _, box in here])
        numbers.append([1] if number == 5 else [object_number for object_number, _ in here])
    frames = [replace(observed(number, boxes), pts_seconds=number / 4) for number, boxes in enumerate(found)]
    config = TrackingConfig(window_seconds=1.0, every_seconds=0.25)
    result = list(follow(frames, config, lambda: ConfusedTracker(numbers)))
    ((_, of_box), *_) = [(c, t) for c, t in boxes_of(result[5]) if t.recovered_from is None]
    assert of_box.track_id == owner


def test_follow__classes_and_stretches_are_apart() -> None:
    other = (1, 0.8, (10.0, 10, 40.0, 40))
    frames = [observed(number, [moving(0), other]) for number in (0, 1, 2)]
    frames += [observed(number, [moving(0)]) for number in (20, 21, 22)]
    frames += [observed(number, [moving(0)], width=80) for number in (23, 24, 25)]
    ids = [[track.track_id for _, track in boxes_of(frame)] for frame in follow(frames, TRACKING, tracker)]
    assert ids == [[1, 2]] * 3 + [[3]] * 3 + [[4]] * 3
    assert [frame.stretch for frame in follow(frames, TRACKING, tracker)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_follow__gives_only_what_is_wanted_and_holds_no_more_than_its_windows() -> None:
    follower: Follower[int] = Follower(TRACKING, tracker)
    given: list[FollowedFrame[int]] = []
    for number in range(200):
        given += follower.add(observed(number, [moving(number % 8)], is_wanted=number % 10 == 0))
        assert number - max((frame.frame for frame in given), default=0) < 20, "a frame waits two windows at most"
    given += follower.finish()
    assert [frame.frame for frame in given] == list(range(0, 200, 10))


def test_detection_config__tracking_replaces_agreement() -> None:
    with pytest.raises(ValueError, match="tracking replaces it; remove one of the two"):
        DetectionConfig.model_validate({"classes": {"bus": []}, "agreement_seconds": 2, "tracking": {}})


def test_detection_config__sam3_finds_objects_by_words() -> None:
    classes = {"bus": [], "part": {"images": ["one.jpg"]}}
    DetectionConfig.model_validate({"classes": classes, "tracking": {}})
    with pytest.raises(ValueError, match="these classes have only images: 'part'; give them `text`"):
        DetectionConfig.model_validate({"classes": classes, "tracking": {"tracker": "sam3"}})


@pytest.mark.parametrize("wrong", [{"every_seconds": 2.0}, {"window_seconds": 30.0, "every_seconds": 0.01}])
def test_tracking_config__refuses_windows_without_neighbours_or_with_far_too_many(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="window_seconds="):
        TrackingConfig.model_validate(wrong)


def test_follow__what_a_video_network_has_seen_returns_with_its_mask() -> None:
    pixels = np.zeros((100, 100), np.bool_)
    pixels[10:40, 22:50] = True
    frames = []
    for number in range(5):
        mask = Mask.of(pixels) if number == 2 else None
        box = (22.0, 10, 50.0, 40) if number == 2 else moving(number)[2]
        seen = [SeenObject(3, 0, "class 0", 0.7, box, mask)]
        phantom = (0, 0.8, (60.0, 60, 90.0, 90))
        found: list[Found] = [] if number == 2 else [phantom] if number == 3 else [moving(number)]
        frames.append(replace(observed(number, found), seen=seen))
    with_network = list(follow(frames, TRACKING, lambda: SessionTracker(start_confidence=0.2)))
    evidence = (Sighting(0.5, 0.8), Sighting(1.5, 0.7))
    assert boxes_of(with_network[2]) == [(0.7, BoxTrack(1, evidence))]
    detections = with_network[2].found.detections
    assert detections.boxes_xyxy.tolist() == [[22, 10, 50, 40]], "not halfway between the others"
    assert detections.masks == (Mask.of(pixels),)
    returned = (0.7, BoxTrack(1, (Sighting(1.0, 0.7), Sighting(2.0, 0.8))))
    assert boxes_of(with_network[3]) == [returned, (0.2, BoxTrack())], "nobody else has seen the phantom"
