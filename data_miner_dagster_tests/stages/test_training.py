import numpy as np

from data_miner_dagster.stages.training import Disagreement, FrameLabels, best_threshold, find_disagreement

NAMES = ("square", "disc")
LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
Row = tuple[tuple[float, float, float, float], int, float]


def boxes(*rows: Row) -> FrameLabels:
    """Return boxes, each given as (corners, class, confidence)."""
    return FrameLabels(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float32),
    )


def test_find_disagreement__none_where_each_box_is_one_of_the_other() -> None:
    assert find_disagreement(boxes(), boxes(), NAMES, 0.5) is None
    shifted = (1.0, 0.0, 11.0, 10.0)  # the IoU is 90 / 110
    assert find_disagreement(boxes((LEFT, 0, 0.9)), boxes((shifted, 0, 0.6)), NAMES, 0.5) is None


def test_find_disagreement__the_surest_box_of_one_alone() -> None:
    labels = boxes((LEFT, 0, 0.7))
    assert find_disagreement(labels, boxes((LEFT, 0, 0.8), (RIGHT, 1, 0.6)), NAMES, 0.5) == Disagreement(
        np.float32(0.6).item(), "the student detects disc 0.60, which is not labelled"
    )
    assert find_disagreement(labels, boxes((LEFT, 0, 0.4)), NAMES, 0.5) == Disagreement(
        np.float32(0.7).item(), "labelled square 0.70, which the student does not detect"
    )
    other = find_disagreement(labels, boxes((LEFT, 1, 0.9)), NAMES, 0.5)
    assert other is not None
    assert other.why == "the student detects disc 0.90, labelled square"
    assert find_disagreement(labels, boxes((LEFT, 0, 0.8), (LEFT, 0, 0.75)), NAMES, 0.5) is None  # detected twice
    both = find_disagreement(boxes((LEFT, 0, 0.7), (LEFT, 0, 0.6)), boxes((LEFT, 0, 0.8)), NAMES, 0.5)
    assert both is not None
    assert both.why == "labelled square 0.60, which the student does not detect"


def test_best_threshold__where_boxes_and_labels_agree_best() -> None:
    assert best_threshold([]) == 0.05
    sure, unsure = boxes((LEFT, 0, 0.42), (RIGHT, 0, 0.21)), boxes((LEFT, 0, 0.33), (RIGHT, 0, 0.28))
    # At 0.3, both objects are found and nothing else; from 0.35 on, one of them is missed.
    assert best_threshold([(boxes((LEFT, 0, 0.9)), sure), (boxes((LEFT, 0, 0.9)), unsure)]) == 0.3
