"""The confusion matrix, compared with one worked out by hand."""

import numpy as np

from data_miner_dagster.stages.evaluation.boxes import FoundBoxes, TruthBoxes
from data_miner_dagster.stages.evaluation.confusion import confusion_matrix


def square(left: float) -> list[float]:
    return [left, 0.0, left + 10, 10.0]


def test_confusion_matrix__by_hand() -> None:
    cat, dog = 0, 1
    objects = [(0, cat, 0.0, False), (0, dog, 20.0, False), (0, dog, 40.0, False), (1, cat, 0.0, True)]
    boxes = [
        (0, cat, 0.9, 0.0),  # finds the cat
        (0, cat, 0.8, 21.0),  # takes a dog for a cat
        (0, dog, 0.8, 2.0),  # on the cat, which a better box has found
        (0, dog, 0.2, 40.0),  # below its threshold, so the dog is missed
        (1, cat, 0.7, 0.0),  # in a crowd of cats
        (1, dog, 0.7, 0.0),  # not of the crowd's class
        (2, dog, 0.7, 0.0),  # on an empty frame
    ]
    truth = TruthBoxes(
        np.array([row[0] for row in objects]),
        np.array([row[1] for row in objects]),
        np.array([square(row[2]) for row in objects]),
        np.array([row[3] for row in objects]),
        np.full(4, 100.0),
    )
    found = FoundBoxes(
        np.array([row[0] for row in boxes]),
        np.array([row[1] for row in boxes]),
        np.array([row[2] for row in boxes]),
        np.array([square(row[3]) for row in boxes]),
    )
    matrix = confusion_matrix(truth, found, ["cat", "dog"], [0.3, 0.3])
    assert matrix.class_names == ("cat", "dog")
    assert matrix.counts == (
        (1, 0, 0),
        (1, 0, 1),
        (0, 3, 0),
    )
