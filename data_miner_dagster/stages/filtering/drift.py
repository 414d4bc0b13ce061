"""Detect whether new similarities are distributed differently from a calibration's similarities. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.stages.estimates import Float64Array

_NUM_BINS: Final = 100
_BINS_PER_PSI_BIN: Final = 10
_FEWEST_FRAMES: Final = 100
DRIFTED_PSI: Final = 0.25


@dataclass(frozen=True, slots=True)
class ScoreDistribution:
    """A histogram whose inner edges are percentiles of the original similarities."""

    edges: tuple[float, ...]  # ascending, without the infinite ones
    counts: tuple[int, ...]  # one more than edges


def distribution_of(scores: Float64Array) -> ScoreDistribution:
    """Return the distribution of finite similarities, with edges at their percentiles."""
    edges = np.quantile(scores, np.arange(1, _NUM_BINS) / _NUM_BINS) if len(scores) else np.zeros(_NUM_BINS - 1)
    return ScoreDistribution(tuple(edges.tolist()), tuple(counts_within(edges.tolist(), scores).tolist()))


def counts_within(edges: Sequence[float], scores: Float64Array) -> npt.NDArray[np.int64]:
    """Return the number of similarities in each half-open bin. The first and last bins are unbounded."""
    return np.bincount(np.searchsorted(np.asarray(edges), scores, side="right"), minlength=len(edges) + 1)


@dataclass(frozen=True, slots=True)
class Drift:
    """The difference between new similarities and the reference.

    `psi` is the population stability index over ten bins (usually interpreted as: below 0.1 the same population, above
    0.25 a different one). `ks` is the largest difference between the cumulative shares, 0..1. `noise` is the PSI
    expected for samples of these sizes without any drift.
    """

    num_frames: int
    psi: float
    ks: float
    noise: float

    @property
    def is_drifted(self) -> bool:
        """True if there are enough frames to judge and the distributions differ."""
        return self.num_frames >= _FEWEST_FRAMES and self.psi > DRIFTED_PSI + self.noise


def drift(reference: ScoreDistribution, new_counts: npt.NDArray[np.int64]) -> Drift | None:
    """Return the drift of new similarities, counted in the reference's bins, or None if either set is empty."""
    old_counts = np.asarray(reference.counts)
    num_old, num_new = int(old_counts.sum()), int(new_counts.sum())
    if not num_old or not num_new:
        return None
    ks = float(np.abs(np.cumsum(old_counts) / num_old - np.cumsum(new_counts) / num_new).max())
    starts = np.arange(0, len(old_counts), _BINS_PER_PSI_BIN)
    # Add half a frame to each bin so that the logarithm exists for empty bins.
    old = np.add.reduceat(old_counts, starts) + 0.5
    new = np.add.reduceat(new_counts, starts) + 0.5
    old, new = old / old.sum(), new / new.sum()
    psi = float(((new - old) * np.log(new / old)).sum())
    return Drift(num_new, psi, ks, noise=(len(starts) - 1) * (1 / num_old + 1 / num_new))
