"""Histograms rendered as one line."""

import numpy as np

from data_miner_dagster.stages.filtering.histograms import count_similarities, histogram_line


def test_histogram_line__nothing() -> None:
    assert histogram_line(count_similarities(np.zeros(0))) == ""


def test_histogram_line__by_hand() -> None:
    counts = count_similarities(np.array([0.29, 0.29, 0.305, np.nan, 0.315, 0.31, 0.319, 0.312]))
    assert histogram_line(counts) == "0.29 ▄▂█ 0.32"


def test_histogram_line__wide_ranges_share_columns() -> None:
    line = histogram_line(count_similarities(np.array([-1.0, 1.0])))
    assert line == "-1.00 █" + " " * 38 + "█ 1.00"


def test_count_similarities__adds_up_over_batches() -> None:
    values = np.linspace(-1, 1, 777)
    assert (count_similarities(values[:300]) + count_similarities(values[300:]) == count_similarities(values)).all()
