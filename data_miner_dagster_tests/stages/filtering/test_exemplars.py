"""Words and exemplars are combined in one similarity, compared with numbers worked out by hand."""

import numpy as np
import pytest

from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.stages.filtering.exemplars import ExemplarVectors, score_prompts_of

X, Y, Z = np.eye(3, dtype=np.float32)
TILTED = np.array([0, 0.6, 0.8], np.float32)


def _beside(*vectors: Float32Array) -> ExemplarVectors:
    return ExemplarVectors(np.stack(vectors), np.stack(vectors))


def test_score_prompts_of__words_alone_are_the_cosines_to_the_last_bit() -> None:
    words = np.stack([X, TILTED])
    frames = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    scores = score_prompts_of(words, [None, None], weight=0.75, threshold=0.3)
    assert not scores.has_exemplars
    np.testing.assert_array_equal(scores.similarities(frames), frames @ words.T)
    empty = score_prompts_of(np.zeros((0, 3), np.float32), [], weight=0.75, threshold=0.3)
    assert empty.similarities(frames).shape == (5, 0)


def test_score_prompts_of__by_hand() -> None:
    """Y and TILTED have similarity .6 to each other and 0 to the words: raw .45, moved by .05 to the threshold."""
    scores = score_prompts_of(np.stack([X, X]), [_beside(Y, TILTED), None], weight=0.75, threshold=0.5)
    frames = np.stack([X, Y, Z, TILTED])
    np.testing.assert_allclose(scores.similarities(frames)[:, 0], [0.3, 0.65, 0.35, 0.65], atol=1e-6)
    np.testing.assert_allclose(scores.similarities(frames)[:, 1], [1, 0, 0, 0], atol=1e-6)


def test_score_prompts_of__the_least_typical_exemplar_is_at_the_threshold() -> None:
    exemplars = [Y, TILTED, Z]
    scores = score_prompts_of(X[None], [_beside(*exemplars)], weight=0.5, threshold=0.34)
    for position, exemplar in enumerate(exemplars):
        others = np.stack(exemplars[:position] + exemplars[position + 1 :])
        held_out = 0.5 * others.mean(axis=0) @ exemplar + float(scores.offsets[0])
        assert held_out >= 0.34 - 1e-6
    # Y has similarities .6 and 0 to the others, so it is the least typical of the three.
    assert 0.5 * 0.3 + float(scores.offsets[0]) == pytest.approx(0.34)


def test_score_prompts_of__two_encoders() -> None:
    """The encoder of the pictures has two dimensions, that of the words three."""
    pictures = np.array([[1, 0], [0.6, 0.8]], np.float32)
    beside = ExemplarVectors(np.stack([X, Y]), pictures)
    scores = score_prompts_of(X[None], [beside], weight=0.75, threshold=0.5)
    # The raw values are .25 * 1 + .75 * .6 = .7 and .25 * 0 + .75 * .6 = .45, so all are moved by .05.
    found = scores.similarities(np.stack([X, Z]), np.array([[1, 0], [0, 1]], np.float32))
    np.testing.assert_allclose(found[:, 0], [0.25 + 0.75 * 0.8 + 0.05, 0.75 * 0.4 + 0.05], atol=1e-6)


def test_score_prompts_of__stays_within_the_range_of_cosines() -> None:
    scores = score_prompts_of(X[None], [_beside(X, -X)], weight=0.5, threshold=0.5)
    assert scores.similarities(np.stack([X, -X])).max() == 1.0
