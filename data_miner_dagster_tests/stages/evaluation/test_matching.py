"""Matching of boxes with objects, worked out by hand."""

import numpy as np

from data_miner_dagster.stages.evaluation.matching import IN_CROWD, UNMATCHED, match_boxes, shares_inside

SQUARE = [0.0, 0.0, 10.0, 10.0]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float64).reshape(-1, 4)


def no_crowd(number: int) -> np.ndarray:
    return np.zeros(number, np.bool_)


def test_match_boxes__nothing_to_match() -> None:
    assert match_boxes(boxes(), np.zeros(0), boxes(SQUARE), no_crowd(1)).tolist() == []
    assert match_boxes(boxes(SQUARE), np.ones(1), boxes(), no_crowd(0)).tolist() == [UNMATCHED]


def test_match_boxes__the_most_confident_takes_the_object() -> None:
    found = boxes([0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4.9])
    assert match_boxes(found, np.array([0.5, 0.6, 0.9]), boxes(SQUARE), no_crowd(1)).tolist() == [
        UNMATCHED,
        0,
        UNMATCHED,  # its IoU is .49
    ]
    assert match_boxes(found, np.array([0.5, 0.5, 0.9]), boxes(SQUARE), no_crowd(1)).tolist() == [
        0,
        UNMATCHED,
        UNMATCHED,
    ]


def test_match_boxes__an_object_before_a_crowd() -> None:
    found = boxes([0, 0, 10, 10], [20, 0, 30, 10], [22, 0, 32, 10], [50, 50, 60, 60])
    truth = boxes([0, 0, 10, 10], [0, 0, 40, 20])
    matches = match_boxes(found, np.array([0.9, 0.8, 0.7, 0.6]), truth, np.array([False, True]))
    assert matches.tolist() == [0, IN_CROWD, IN_CROWD, UNMATCHED]


def test_shares_inside__of_the_box_and_not_of_the_region() -> None:
    assert shares_inside(boxes([0, 0, 10, 10], [0, 0, 0, 10]), boxes([5, 0, 100, 100])).tolist() == [[0.5], [0.0]]
