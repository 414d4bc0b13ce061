"""Count values in bins, and draw them as the histograms of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

HISTOGRAM_BINS: Final = 48

_NARROWEST: Final = 0.01
_WIDTH: Final = 640.0
_HEIGHT: Final = 150.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a drawing, in units of its view box."""

    x: float
    y: float
    width: float
    height: float
    kind: str  # the series, as in the histogram's legend


@dataclass(frozen=True, slots=True)
class Histogram:
    """Stacked bars over a range of values, with marks, such as thresholds, and ticks.

    Each mark and each tick is (horizontal position in units of the view box, label).
    """

    title: str
    note: str
    bars: tuple[Bar, ...]
    marks: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    legend: tuple[tuple[str, str], ...]  # kind, text
    view_wh: tuple[float, float] = (_WIDTH, _HEIGHT)


class HistogramCounts:
    """Counts of values in bins of equal width between two bounds, with one row per series.

    Values outside the bounds are counted in the first or last bin. Equal bounds are moved slightly apart. For
    example, the cosines of duplicates are drawn from the threshold to 1.0, and the threshold may be 1.0.
    """

    def __init__(self, series: Sequence[str], low: float, high: float, *, bins: int = HISTOGRAM_BINS) -> None:
        self.series = tuple(series)
        self.low, self.high = (low, high) if low < high else (low - _NARROWEST / 2, low + _NARROWEST / 2)
        self.counts = np.zeros((len(self.series), bins), np.int64)

    def add(self, series: str, values: npt.NDArray[np.float64]) -> None:
        """Count the values of one series. NaN and infinite values are ignored."""
        finite = values[np.isfinite(values)]
        bins = self.counts.shape[1]
        places = ((finite - self.low) / (self.high - self.low) * bins).astype(np.int64)
        np.add.at(self.counts[self.series.index(series)], np.clip(places, 0, bins - 1), 1)

    @property
    def total(self) -> int:
        """The number of values counted."""
        return int(self.counts.sum())


def draw_histogram(
    counts: HistogramCounts,
    *,
    title: str,
    note: str,
    marks: Sequence[tuple[float, str]] = (),
    legend: Sequence[tuple[str, str]],
) -> Histogram:
    """Draw a histogram as rectangles. Series are stacked in order, and the tallest bin almost fills the height.

    `marks` contains (value, label) pairs; a mark outside the bounds is drawn at the edge. `legend` contains a (kind,
    text) pair for each series.
    """
    bins = counts.counts.shape[1]
    step = _WIDTH / bins
    tallest = max(1, int(counts.counts.sum(axis=0).max()))
    bars = []
    for index in range(bins):
        base = _HEIGHT
        for (kind, _), number in zip(legend, counts.counts[:, index], strict=True):
            # keep a single value visible beside thousands
            height = max(2.0, float(number) / tallest * (_HEIGHT - 8)) if number else 0.0
            if height:
                base -= height
                bars.append(
                    Bar(round(index * step + 0.5, 2), round(base, 2), round(step - 1, 2), round(height, 2), kind)
                )

    def position(value: float) -> float:
        return round(min(max((value - counts.low) / (counts.high - counts.low), 0.0), 1.0) * _WIDTH, 2)

    ticks = [counts.low + (counts.high - counts.low) * part / 4 for part in range(5)]
    return Histogram(
        title,
        note,
        tuple(bars),
        tuple((position(value), label) for value, label in marks),
        tuple((position(tick), f"{tick:.2f}") for tick in ticks),
        tuple(legend),
    )
