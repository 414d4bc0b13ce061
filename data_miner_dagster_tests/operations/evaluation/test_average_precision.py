"""Test that the figures equal those of the reference, pycocotools, on random sets with crowds."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data_miner_dagster.operations.evaluation.average_precision import (
    FIGURES,
    average_precision,
    coco_content,
    coco_results,
)
from data_miner_dagster.stages.evaluation.boxes import FoundBoxes, TruthBoxes, match_all
from data_miner_dagster.stages.evaluation.matching import IN_CROWD
from data_miner_dagster_tests.operations.evaluation.planted_boxes import RESOLUTION_WH, planted_boxes

NO_BOXES = FoundBoxes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)))
NO_TRUTH = TruthBoxes(NO_BOXES.frames, NO_BOXES.classes, NO_BOXES.boxes_xyxy, np.zeros(0, np.bool_), np.zeros(0))


def by_pycocotools(truth: TruthBoxes, found: FoundBoxes, num_frames: int) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = coco_content(truth, [RESOLUTION_WH] * num_frames, 3)
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(coco_results(found)), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


@pytest.mark.parametrize(("seed", "num_frames"), [(0, 2), (1, 40), (2, 40), (3, 120), (4, 120)])
def test_average_precision__equals_pycocotools(seed: int, num_frames: int) -> None:
    truth, found = planted_boxes(seed, num_frames=num_frames)
    evaluator = by_pycocotools(truth, found, num_frames)
    result = average_precision(truth, found, [RESOLUTION_WH] * num_frames, 3)
    assert list(result.figures) == list(FIGURES)
    figures = [-1.0 if value is None else value for value in result.figures.values()]
    assert figures == pytest.approx(evaluator.stats.tolist(), abs=1e-6)
    for index, of_class in enumerate(result.classes):
        precision = evaluator.eval["precision"][:, :, index, 0, -1]
        if not (precision > -1).any():
            assert of_class.ap is None
            continue
        assert of_class.ap == pytest.approx(precision.mean(), abs=1e-6)
        assert of_class.ap50 == pytest.approx(precision[0].mean(), abs=1e-6)
        assert of_class.ar == pytest.approx(evaluator.eval["recall"][:, index, 0, -1].mean(), abs=1e-6)
    if num_frames > 2:
        assert truth.is_crowd.any()
        assert 0.05 < (result.figures["AP"] or 0.0) < 0.9


@pytest.mark.parametrize("seed", [5, 6])
def test_match_all__finds_what_pycocotools_finds(seed: int) -> None:
    truth, found = planted_boxes(seed, num_frames=60)
    evaluator = by_pycocotools(truth, found, 60)
    matches = match_all(truth, found)
    assert (matches == IN_CROWD).any()
    for index in range(3):
        num_objects = int(((truth.classes == index) & ~truth.is_crowd).sum())
        num_found = int(((found.classes == index) & (matches >= 0)).sum())
        assert num_found / num_objects == pytest.approx(evaluator.eval["recall"][0, index, 0, -1])


def test_average_precision__nothing_found_and_nothing_to_find() -> None:
    truth, found = planted_boxes(1, num_frames=10)
    result = average_precision(truth, NO_BOXES, [RESOLUTION_WH] * 10, 3)
    assert (result.figures["AP"], result.figures["AR"]) == (0.0, 0.0)
    nothing = average_precision(NO_TRUTH, found, [RESOLUTION_WH] * 10, 3)
    assert set(nothing.figures.values()) == {None}
    assert [of_class.ap for of_class in nothing.classes] == [None, None, None]
