from dataclasses import replace

import numpy as np
import pytest

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections
from data_miner_dagster.stages.detection.boxes import (
    FrameDetections,
    confirm_along_video,
    count_boxes,
    detection_rows,
    fuse_detections,
    iou_matrix,
    suppress,
    suppress_overlaps,
)

CLASSES = (ClassPrompts("bus", ("bus",)), ClassPrompts("train", ("train", "tram")))


def detections(*rows: tuple[float, int, tuple[float, float, float, float]]) -> ImageDetections:
    """Return detections from rows of (confidence, class index, box)."""
    return ImageDetections(
        np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        np.array([confidence for confidence, _, _ in rows], np.float32),
        np.array([index for _, index, _ in rows], np.int32),
        tuple(CLASSES[index].prompts[-1] for _, index, _ in rows),
    )


def test_iou_matrix__no_boxes() -> None:
    none = np.zeros((0, 4), np.float32)
    assert iou_matrix(none, none).shape == (0, 0)
    assert iou_matrix(np.ones((2, 4), np.float32), none).shape == (2, 0)


def test_iou_matrix__by_hand() -> None:
    first = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], np.float32)
    second = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 4, 4], [5, 5, 5, 5]], np.float32)
    # Half of each box is shared, so the IoU is 2 / (4 + 4 - 2).
    expected = np.array([[1, 1 / 3, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(iou_matrix(first, second), expected)


def test_suppress_overlaps__no_boxes() -> None:
    assert suppress_overlaps(ImageDetections.empty(), 0.5, within_class=True).tolist() == []


def test_suppress_overlaps__within_and_across_classes() -> None:
    found = detections(
        (0.9, 0, (0, 0, 10, 10)),
        (0.8, 1, (0, 0, 10, 9)),  # IoU .9 with the first, another class
        (0.7, 0, (0, 0, 10, 8)),  # IoU .8 with the first, the same class
        (0.6, 0, (50, 50, 60, 60)),
    )
    assert suppress_overlaps(found, 0.7, within_class=True).tolist() == [0, 1, 3]
    assert suppress_overlaps(found, 0.7, within_class=False).tolist() == [0, 3]
    assert suppress_overlaps(found, 0.85, within_class=True).tolist() == [0, 1, 2, 3]


def test_suppress_overlaps__what_is_suppressed_suppresses_nothing() -> None:
    chain = detections((0.9, 0, (0, 0, 10, 10)), (0.8, 0, (4, 0, 14, 10)), (0.7, 0, (8, 0, 18, 10)))
    assert suppress_overlaps(chain, 0.4, within_class=True).tolist() == [0, 2]


def test_suppress_overlaps__as_supervision_does() -> None:
    """Compare with an independent implementation on the same random boxes."""
    import supervision

    random = np.random.default_rng(0)
    corners, sizes = random.uniform(0, 400, (300, 2)), random.uniform(20, 200, (300, 2))
    boxes = np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)
    confidences = np.sort(random.uniform(0, 1, 300))[::-1].astype(np.float32)
    classes = random.integers(0, 2, 300).astype(np.int32)
    found = ImageDetections(boxes, confidences, classes, tuple(CLASSES[index].prompts[-1] for index in classes))
    np.testing.assert_allclose(iou_matrix(boxes, boxes), supervision.box_iou_batch(boxes, boxes), atol=1e-5)
    for within_class, category in ((True, classes), (False, np.zeros(300))):
        rows = np.column_stack([boxes, confidences, category])
        theirs = np.flatnonzero(supervision.box_non_max_suppression(rows, iou_threshold=0.4))
        ours = suppress_overlaps(found, 0.4, within_class=within_class)
        assert 10 < len(ours) < 290
        np.testing.assert_array_equal(ours, theirs)


def test_detection_rows__no_boxes() -> None:
    found = FrameDetections(ImageDetections.empty(), np.zeros(0, np.int32))
    assert detection_rows("files-a/000000", "files-a", 0, found, classes=CLASSES, detector="d") == []


def test_detection_rows__rounded_and_sorted() -> None:
    found = FrameDetections(
        detections((0.500004, 1, (1.234, 2, 30, 40)), (0.500001, 0, (1, 2, 3, 4))), np.array([2, 1], np.int32)
    )
    rows = detection_rows("files-a/000007", "files-a", 7, found, classes=CLASSES, detector="d")
    assert [row["class_name"] for row in rows] == ["bus", "train"]  # equal after rounding, so by class
    assert rows[1] == {
        "frame_id": "files-a/000007",
        "video_key": "files-a",
        "frame_index": 7,
        "class_name": "train",
        "prompt": "tram",
        "confidence": 0.5,
        "x_min": pytest.approx(1.23),
        "y_min": 2,
        "x_max": 30,
        "y_max": 40,
        "detector": "d",
        "num_agreeing_detectors": 2,
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((0.5, -1, (0, 0, 1, 1)), "the detector returned a box of class -1, but the number of classes is 2"),
        ((0.5, 0, (0, 0, float("inf"), 1)), "must be finite numbers"),
        ((float("nan"), 0, (0, 0, 1, 1)), "must be finite numbers"),
    ],
)
def test_detection_rows__what_no_detector_may_say(
    row: tuple[float, int, tuple[float, float, float, float]], said: str
) -> None:
    found = FrameDetections(detections((0.9, 1, (1, 2, 3, 4)), row), np.array([1, 1], np.int32))
    with pytest.raises(ValueError, match=said):
        detection_rows("files-a/000000", "files-a", 0, found, classes=CLASSES, detector="d")


def test_count_boxes__nothing() -> None:
    assert list(count_boxes([], [], CLASSES).items()) == [
        ("frames", 0),
        ("frames_with_boxes", 0),
        ("boxes", 0),
        ("boxes:bus", 0),
        ("boxes:train", 0),
    ]


def test_count_boxes__by_class_in_the_order_of_the_list() -> None:
    counts = count_boxes([0, 2, 1], ["train", "bus", "train"], CLASSES)
    assert list(counts.values()) == [3, 2, 3, 1, 2]


def test_fuse_detections__nothing_found() -> None:
    fused = fuse_detections([ImageDetections.empty(), ImageDetections.empty()], iou=0.5)
    assert fused.detections.prompts == ()
    assert fused.num_agreeing_detectors.tolist() == []


def test_fuse_detections__one_detector_is_left_as_it_is() -> None:
    alone = detections((0.9, 0, (0, 0, 10, 10)), (0.8, 0, (0, 0, 10, 9)))
    fused = fuse_detections([alone], iou=0.5)
    assert fused.detections is alone
    assert fused.num_agreeing_detectors.tolist() == [1, 1]


def test_fuse_detections__by_hand() -> None:
    first = detections((0.8, 0, (0, 0, 10, 10)), (0.6, 1, (50, 50, 60, 60)))
    second = detections((0.4, 0, (0, 0, 10, 13)), (0.5, 0, (90, 90, 99, 99)))
    fused = fuse_detections([first, second], iou=0.55)
    # Bus: IoU 100 / 130, edge (10 * .8 + 13 * .4) / 1.2 = 11, confidence (.8 + .4) / 2.
    # Each of the other boxes was reported by only one of the two detectors.
    np.testing.assert_allclose(
        fused.detections.boxes_xyxy, np.array([[0, 0, 10, 11], [50, 50, 60, 60], [90, 90, 99, 99]]), rtol=1e-6
    )
    np.testing.assert_allclose(fused.detections.confidences, np.array([0.6, 0.3, 0.25]), rtol=1e-6)
    assert fused.detections.class_indices.tolist() == [0, 1, 0]
    assert fused.detections.prompts == ("bus", "tram", "bus")
    assert fused.num_agreeing_detectors.tolist() == [2, 1, 1]


def test_fuse_detections__classes_are_not_mixed() -> None:
    fused = fuse_detections([detections((0.8, 0, (0, 0, 10, 10))), detections((0.8, 1, (0, 0, 10, 10)))], iou=0.55)
    assert fused.num_agreeing_detectors.tolist() == [1, 1]


def test_fuse_detections__near_duplicates_of_one_detector_count_once() -> None:
    twice = detections((0.8, 0, (0, 0, 10, 10)), (0.7, 0, (0, 0, 10, 9.5)))
    fused = fuse_detections([twice, ImageDetections.empty(), ImageDetections.empty()], iou=0.55)
    assert fused.num_agreeing_detectors.tolist() == [1]
    np.testing.assert_allclose(fused.detections.confidences, np.array([0.8 / 3]), rtol=1e-6)


def test_fuse_detections__order_of_detectors_does_not_matter_for_the_boxes() -> None:
    first = detections((0.8, 0, (0, 0, 10, 10)), (0.6, 1, (50, 50, 60, 60)))
    second = detections((0.4, 0, (0, 0, 10, 13)), (0.5, 0, (90, 90, 99, 99)))
    one, other = (fuse_detections(found, iou=0.55).detections for found in ([first, second], [second, first]))
    np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
    np.testing.assert_array_equal(one.confidences, other.confidences)


def test_suppress__nothing_asked_for() -> None:
    found = FrameDetections(detections((0.9, 0, (0, 0, 10, 10)), (0.8, 0, (0, 0, 10, 10))), np.array([2, 1], np.int32))
    assert suppress(found, class_wise_iou=None, cross_class_iou=None) is found
    assert suppress(found, class_wise_iou=0.9, cross_class_iou=None).num_agreeing_detectors.tolist() == [2]


def frame(*rows: tuple[float, int, tuple[float, float, float, float]]) -> FrameDetections:
    return FrameDetections(detections(*rows), np.ones(len(rows), np.int32))


def test_confirm_along_video__no_frames() -> None:
    assert confirm_along_video([], [], within_seconds=1, iou=0.5) == []


def test_confirm_along_video__flicker_loses_half() -> None:
    bus, flicker = (0.6, 0, (0.0, 0.0, 10.0, 10.0)), (0.8, 1, (0.0, 0.0, 10.0, 10.0))
    confirmed = confirm_along_video(
        [frame(bus), frame(flicker, (0.5, 0, (1, 0, 11, 10))), frame()], [0.0, 1.0, 2.0], within_seconds=1.0, iou=0.5
    )
    assert [found.detections.confidences.tolist() for found in confirmed] == [
        pytest.approx([0.6]),
        pytest.approx([0.5, 0.4]),
        [],
    ]
    assert confirmed[1].detections.class_indices.tolist() == [0, 1]


def test_confirm_along_video__a_frame_alone_in_its_time_is_left_alone() -> None:
    alone = frame((0.6, 0, (0, 0, 10, 10)))
    confirmed = confirm_along_video([alone, frame()], [0.0, 9.0], within_seconds=1.0, iou=0.5)
    assert confirmed[0].detections.confidences.tolist() == pytest.approx([0.6])


def block(left: int, top: int, right: int, bottom: int) -> Mask:
    """Return the mask of a rectangle in a picture of 60 x 40 pixels."""
    pixels = np.zeros((40, 60), bool)
    pixels[top:bottom, left:right] = True
    return Mask.of(pixels)


def test_suppress__masks_stay_with_their_boxes() -> None:
    first, third = block(0, 0, 10, 10), block(50, 0, 60, 10)
    found = replace(
        detections((0.9, 0, (0, 0, 10, 10)), (0.8, 0, (0, 0, 10, 9)), (0.7, 0, (50, 0, 60, 10))),
        masks=(first, block(0, 0, 10, 9), third),
    )
    kept = suppress(FrameDetections(found, np.ones(3, np.int32)), class_wise_iou=0.5, cross_class_iou=None)
    assert kept.detections.masks == (first, third)


def test_fuse_detections__the_mask_of_the_most_confident_that_has_one_and_its_bounds() -> None:
    without = detections((0.9, 0, (0, 0, 20, 20)))
    masks = (block(2, 1, 19, 20), block(40, 0, 60, 20))
    second = replace(detections((0.6, 0, (2, 1, 19, 20)), (0.5, 1, (40, 0, 60, 20))), masks=masks)
    third = replace(detections((0.3, 0, (0, 0, 19, 20))), masks=(block(0, 0, 19, 20),))
    fused = fuse_detections([without, second, third], iou=0.5)
    assert fused.detections.masks == masks
    assert fused.detections.boxes_xyxy.tolist() == [[2, 1, 19, 20], [40, 0, 60, 20]]
    assert fused.num_agreeing_detectors.tolist() == [3, 1]


def test_detection_rows__masks_as_tables_have_them() -> None:
    mask = block(1, 2, 3, 4)
    found = replace(detections((0.5, 0, (1, 2, 3, 4)), (0.25, 0, (5, 5, 9, 9))), masks=(mask, None))
    rows = detection_rows(
        "v/000001", "v", 1, FrameDetections(found, np.ones(2, np.int32)), classes=CLASSES, detector="d"
    )
    assert [row.get("mask") for row in rows] == [{"size": [40, 60], "counts": mask.counts}, None]
