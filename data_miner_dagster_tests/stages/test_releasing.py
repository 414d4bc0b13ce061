import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_miner_dagster.config.releasing import UnsurePolicy
from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.stages.releasing import (
    CandidateColumns,
    FrameOutcome,
    ReleasableBox,
    ReleaseRules,
    at_threshold,
    candidate_frames,
    chosen_frames,
    clip_box,
    next_version,
    public_reference,
    releasable_boxes,
    version_number,
)
from data_miner_dagster.stages.reviewing.judging import FoundBox, judge_boxes
from data_miner_dagster.stages.reviewing.states import ConfidenceRange, FrameClasses


def test_next_version__none() -> None:
    assert next_version([]) == "v001"


def test_next_version__after_the_highest() -> None:
    assert next_version(["v002", "v010", ".partial-0-v011", "notes"]) == "v011"
    assert next_version(["v999"]) == "v1000"
    assert [version_number(name) for name in ("v007", "v1000", "latest")] == [7, 1000, 0]


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((1.0, 2.0, 3.5, 4.25), (1.0, 2.0, 3.5, 4.25)),
        ((-5.0, -1.0, 70.0, 50.0), (0.0, 0.0, 64.0, 48.0)),
        ((63.5, 0.0, 80.0, 40.0), None),  # only half a pixel is inside
        ((70.0, 0.0, 80.0, 40.0), None),  # entirely outside
        ((10.0, 10.0, 5.0, 20.0), None),  # left and right are swapped
        ((1.00049, 2.0, 10.00051, 9.0), (1.0, 2.0, 10.001, 9.0)),
    ],
)
def test_clip_box__to_the_image(
    box: tuple[float, float, float, float], clipped: tuple[float, float, float, float] | None
) -> None:
    assert clip_box(box, (64, 48)) == clipped


def test_at_threshold__in_float32() -> None:
    stored = np.array([0.7, 0.6999999, 0.3], np.float32)  # 0.7 is stored as 0.699999988
    assert at_threshold(stored, 0.7).tolist() == [True, False, False]
    assert at_threshold(np.zeros(0, np.float32), 0.7).tolist() == []


def test_candidate_frames__representatives_that_can_be_had() -> None:
    nobody = np.zeros(0, np.int32)
    assert candidate_frames(nobody, np.zeros(0, bool), lambda _frame: False) == []
    frames, is_representative = np.array([9, 2, 4, 7], np.int32), np.array([True, True, False, True])
    assert candidate_frames(frames, is_representative, {7, 4}.__contains__) == [2, 9]


def releasable(
    found: list[FoundBox],
    thresholds: tuple[float, ...] = (0.3,),
    *,
    unsure_from: float = 1.0,
    with_empty: bool = True,
    unsure: UnsurePolicy = "hold",
) -> list[ReleasableBox] | FrameOutcome:
    """Return the boxes to release from a 64 by 48 frame without verdicts, or why the frame is not released."""
    names = tuple(f"class {index}" for index in range(len(thresholds)))
    ranges = tuple(ConfidenceRange(min(unsure_from, threshold), threshold) for threshold in thresholds)
    judgement = judge_boxes(found, [], FrameClasses(names, ranges), (64, 48))
    return releasable_boxes(found, judgement, ReleaseRules(with_empty, unsure), (64, 48))


def test_releasable_boxes__by_class_threshold_and_what_is_inside() -> None:
    found = [
        FoundBox(0, 0.29, (1.0, 1.0, 9.0, 9.0)),
        FoundBox(1, _as_float32(0.7), (-3.0, 2.0, 20.0, 60.0)),
        FoundBox(0, 0.9, (70.0, 0.0, 80.0, 9.0)),  # outside the frame
        FoundBox(0, 0.8000000001, (5.0, 5.0, 15.0, 15.0)),
    ]
    assert releasable(found, (0.3, 0.7)) == [
        ReleasableBox(3, 0, 0.8, (5.0, 5.0, 15.0, 15.0)),
        ReleasableBox(1, 1, 0.7, (0.0, 2.0, 20.0, 48.0)),
    ]


@pytest.mark.parametrize("found", [[], [FoundBox(0, 0.1, (1.0, 1.0, 9.0, 9.0))]])
def test_releasable_boxes__a_frame_without_is_a_negative_or_left_out(found: list[FoundBox]) -> None:
    assert releasable(found) == []
    assert releasable(found, with_empty=False) is FrameOutcome.WITHOUT_BOXES


SURE, UNSURE = FoundBox(0, 0.5, (1.0, 1.0, 9.0, 9.0)), FoundBox(0, 0.25, (20.0, 1.0, 29.0, 9.0))
OUTSIDE = FoundBox(0, 0.25, (70.0, 0.0, 80.0, 9.0))
AGREED = FoundBox(0, 0.25, (20.0, 1.0, 29.0, 9.0), num_agreeing_detectors=2)


@pytest.mark.parametrize(
    ("found", "unsure", "expected"),
    [
        ([SURE, UNSURE], "hold", FrameOutcome.HELD),
        ([UNSURE], "hold", FrameOutcome.HELD),
        ([SURE, OUTSIDE], "hold", [(0, False)]),
        ([SURE, AGREED], "hold", [(0, False), (1, False)]),
        ([SURE, UNSURE], "ignore_regions", [(0, False), (1, True)]),
        ([SURE, UNSURE], "as_negative", [(0, False)]),
        ([UNSURE], "as_negative", []),
    ],
)
def test_releasable_boxes__unsure_ones(
    found: list[FoundBox], unsure: UnsurePolicy, expected: FrameOutcome | list[tuple[int, bool]]
) -> None:
    decided = releasable(found, unsure_from=0.2, unsure=unsure)
    if isinstance(decided, list):
        assert [(box.position, box.is_unsure) for box in decided] == expected
    else:
        assert decided is expected


def test_releasable_boxes__a_region_to_ignore_is_no_box() -> None:
    decided = releasable([UNSURE], unsure_from=0.2, unsure="ignore_regions", with_empty=False)
    assert decided is FrameOutcome.WITHOUT_BOXES


def _as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


coordinates = st.floats(-20, 90, width=32)
confidences = st.one_of(st.sampled_from([0.3, 0.7]), st.floats(0, 1))
found_boxes = st.lists(
    st.builds(
        FoundBox,
        st.integers(0, 2),
        confidences.map(_as_float32),
        st.tuples(coordinates, coordinates, coordinates, coordinates),
    ),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(found_boxes, st.tuples(confidences, confidences, confidences), st.booleans())
def test_releasable_boxes__like_a_plain_loop(
    found: list[FoundBox], thresholds: tuple[float, float, float], with_empty: bool
) -> None:
    expected: list[tuple[float, int, BoxXyxy, int]] = []
    for position, box in enumerate(found):
        if box.confidence < _as_float32(thresholds[box.class_index]):
            continue
        left, top, right, bottom = box.box_xyxy
        left, right = (round(0.0 if x < 0 else 64.0 if x > 64 else x, 3) for x in (left, right))
        top, bottom = (round(0.0 if y < 0 else 48.0 if y > 48 else y, 3) for y in (top, bottom))
        if right - left >= 1 and bottom - top >= 1:
            expected.append((-round(box.confidence, 6), box.class_index, (left, top, right, bottom), position))
    decided = releasable(found, thresholds, with_empty=with_empty)
    if not expected and not with_empty:
        assert decided is FrameOutcome.WITHOUT_BOXES
        return
    assert decided == [
        ReleasableBox(position, class_index, -confidence, box_xyxy)
        for confidence, class_index, box_xyxy, position in sorted(expected)
    ]


def test_candidate_columns__empty() -> None:
    none = CandidateColumns().candidates({})
    assert (none.video_keys, none.video_offsets.tolist(), none.box_offsets.tolist()) == ((), [0], [0])
    assert chosen_frames(none, np.zeros(0, bool)) == {}


def test_candidate_columns__videos_images_and_boxes() -> None:
    columns = CandidateColumns()
    columns.add("a", 3, 0.5, [(1, 0.9), (0, 0.4)])
    columns.add("a", 7, 0.25, [])
    columns.add("b", 0, 0.75, [(1, 0.5)])
    found = columns.candidates({"a": "val", "b": "train", "gone": "test"})
    assert (found.video_keys, found.splits, found.video_offsets.tolist()) == (("a", "b"), ("val", "train"), [0, 2, 3])
    assert (found.frame_indices.tolist(), found.similarities.tolist()) == ([3, 7, 0], [0.5, 0.25, 0.75])
    assert (found.box_offsets.tolist(), found.box_classes.tolist()) == ([0, 2, 2, 3], [1, 0, 1])
    assert found.box_confidences.tolist() == [np.float32(0.9), np.float32(0.4), 0.5]
    chosen = chosen_frames(found, np.array([False, True, False]))
    assert {key: frames.tolist() for key, frames in chosen.items()} == {"a": [7]}


def test_candidate_columns__what_stays_in_memory() -> None:
    num_images, boxes = 20_000, [(0, 0.5), (1, 0.25), (0, 0.125)]
    tracemalloc.start()
    try:
        columns = CandidateColumns()
        for image in range(num_images):
            columns.add(f"video-{image // 1000}", image % 1000, 0.5, boxes)
        candidates = columns.candidates({f"video-{video}": "train" for video in range(20)})
        num_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(candidates.box_classes) == 3 * num_images
    columns_only = num_images * (4 + 4 + 4 + 8) + 3 * num_images * (4 + 4)
    assert num_bytes < 1.25 * columns_only  # arrays reserve an eighth more than they need


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=3", "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=3"),
        ("https://me:secret@host.example/a.mp4#t=3", "https://host.example/a.mp4"),
        ("https://cdn.example/a.mp4?id=7&X-Amz-Signature=abc&token=def&Expires=1", "https://cdn.example/a.mp4?id=7"),
        ("people cycling in the rain", "people cycling in the rain"),
        ("cats/dogs", "cats/dogs"),
        ("https://[::1/x", ""),
        ("", ""),
    ],
)
def test_public_reference__no_secret(reference: str, shown: str) -> None:
    assert public_reference(reference, is_path=False) == shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/someone/clips/bikes.mp4", "bikes.mp4"),
        ("/home/someone/clips/*.mp4", "*.mp4"),
        ("clips", "clips"),
        ("/home/someone/Part #1 of 2?.mp4", "Part #1 of 2?.mp4"),
        ("/home/someone/http:/a.test?token=1", "a.test?token=1"),
    ],
)
def test_public_reference__of_a_path_its_last_part(path: str, shown: str) -> None:
    assert public_reference(path, is_path=True) == shown
