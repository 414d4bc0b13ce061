"""Estimate shares from stratified samples, with intervals that account for answers that are not independent.

Each stratum of a population has an unknown share, whose Jeffreys posterior given the answers is
Beta(yes + 1/2, no + 1/2), with the answers divided by the design effect. Many draws of these shares, and of the number
of yes answers among the unanswered items, yield the distribution of any quantity computed from them. Medians are the
estimates, and the central 95% are the intervals. A stratum without answers can contain anything and widens the
intervals accordingly.

Source of the interval: Brown, Cai and DasGupta 2001, "Interval estimation for a binomial proportion", section 4.3.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.quality import Estimate

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

FEWEST_ANSWERS: Final = 20
"""With fewer answers than this, no threshold is suggested, except for a class whose boxes have all been judged."""
NUM_DRAWS: Final = 2000
_CONFIDENCE: Final = 0.95


def stratum_of(scores: Float64Array, edges: Float64Array) -> Int64Array:
    """Return the index of each value's stratum. Strata include their lower edge but not their upper edge.

    `edges` are the S + 1 edges of S strata, in ascending order. A value below all of them has the index -1, and a value
    that is not below the last one has the index S.
    """
    strata: Int64Array = np.searchsorted(edges, scores, side="right") - 1
    return strata


def draw_numbers(sizes: Int64Array, yes: Int64Array, no: Int64Array, *, design_effect: float = 1.0) -> Float64Array:
    """Return (D, S) draws of the number of items per stratum whose answer is yes. Equal arguments yield equal draws.

    Only unanswered items are drawn, so there is no spread once every item has been answered.

    Args:
        sizes: (S,) number of items in each stratum.
        yes: (S,) number of answers that are yes.
        no: (S,) number of answers that are no.
        design_effect: number of answers that carry as much information as one independent answer.
    """
    generator = np.random.default_rng(0)
    shares = generator.beta(yes / design_effect + 0.5, no / design_effect + 0.5, size=(NUM_DRAWS, len(sizes)))
    drawn: Float64Array = (yes + generator.binomial(sizes - yes - no, shares)).astype(np.float64)
    return drawn


def estimate_of(draws: Float64Array) -> Estimate:
    """Return the median of the draws, and the interval that contains their central 95%."""
    tail = (1 - _CONFIDENCE) / 2
    low, value, high = np.quantile(draws, [tail, 0.5, 1 - tail]).tolist()
    return Estimate(value, low, high)


def design_effect(residuals: Float64Array, clusters: Int64Array) -> float:
    """Return the number of answers, at least 1, that carry as much information as one independent answer.

    Args:
        residuals: (N,) each answer (1 or 0) minus its expected share.
        clusters: (N,) the cluster of each answer, such as its frame.

    Source: Kish 1965, "Survey Sampling", section 8.2: the variance of cluster totals divided by the variance of single
    answers.
    """
    spread = float((residuals**2).sum())
    if spread <= 0:
        return 1.0
    _, positions = np.unique(clusters, return_inverse=True)
    totals = np.bincount(positions, residuals)
    return max(1.0, float((totals**2).sum()) / spread)


def clustered_share(is_yes: BoolArray, clusters: Int64Array) -> Estimate | None:
    """Return the share of yes answers in a cluster sample (objects grouped by frame), or None if there are no answers.

    The estimate is the ratio of totals. Its interval is a Jeffreys interval for the effective number of answers,
    widened if necessary to contain the estimate.
    """
    if not len(is_yes):
        return None
    num_yes = int(is_yes.sum())
    share = num_yes / len(is_yes)
    effect = design_effect(is_yes.astype(np.float64) - share, clusters)
    generator = np.random.default_rng(0)
    draws = generator.beta(num_yes / effect + 0.5, (len(is_yes) - num_yes) / effect + 0.5, size=5 * NUM_DRAWS)
    around = estimate_of(draws)
    return Estimate(share, min(around.low, share), max(around.high, share))
