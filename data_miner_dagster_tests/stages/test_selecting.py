import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_miner_dagster.stages.selecting import (
    PROJECTED_DIMENSIONS,
    GroupLimit,
    Pool,
    choose_images,
    covering_radius,
    projected,
    uncertainties,
)


def _units(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    units: npt.NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units.astype(np.float32)


def _pool(classes: list[list[int]], *, seed: int = 0, with_vectors: bool = True) -> Pool:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum([len(some) for some in classes])]).astype(np.int64)
    flat = np.array([one for some in classes for one in some], np.int32)
    vectors = _units(rng.standard_normal((len(classes), 6))) if with_vectors else None
    return Pool(rng.random(len(classes)).astype(np.float32), offsets, flat, vectors)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000),
    classes=st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=60),
    count=st.integers(1, 40),
    per_video=st.integers(1, 6),
    per_channel=st.integers(1, 12),
    with_vectors=st.booleans(),
    balanced=st.booleans(),
)
def test_choose_images__limits_hold_and_nothing_is_left_that_fits(
    seed: int,
    classes: list[list[int]],
    count: int,
    per_video: int,
    per_channel: int,
    with_vectors: bool,
    balanced: bool,
) -> None:
    pool = _pool(classes, seed=seed, with_vectors=with_vectors)
    videos = np.sort(np.random.default_rng(seed).integers(0, 8, len(classes)))
    channels = videos // 3
    limits = [GroupLimit(videos, per_video), GroupLimit(channels, per_channel)]
    chosen = choose_images(pool, count, num_classes=4 if balanced else 0, limits=limits)
    of_video, of_channel = np.bincount(videos[chosen], minlength=8), np.bincount(channels[chosen], minlength=3)
    assert chosen.sum() <= count
    assert of_video.max() <= per_video
    assert of_channel.max() <= per_channel
    if chosen.sum() < count:  # any further image would exceed a limit
        left = np.flatnonzero(~chosen)
        assert all(of_video[videos[row]] == per_video or of_channel[channels[row]] == per_channel for row in left)
    if balanced:
        owners = [np.flatnonzero([index in some for some in classes]) for index in range(4)]
        rarest = min(range(4), key=lambda index: (len(owners[index]), index))
        of_rarest = videos[owners[rarest]]
        fitting = {video: min(per_video, int(np.sum(of_rarest == video))) for video in set(of_rarest.tolist())}
        room = sum(
            min(per_channel, sum(number for video, number in fitting.items() if video // 3 == channel))
            for channel in range(3)
        )
        assert np.count_nonzero(chosen[owners[rarest]]) >= min(count // 4, room)


def test_choose_images__covers_a_long_tail_better_than_chance() -> None:
    rng = np.random.default_rng(7)
    sizes = (3000 / np.arange(1, 61) ** 1.3).astype(int) + 3
    centres = rng.standard_normal((60, 192))
    vectors = _units(
        np.concatenate([c + 0.35 * rng.standard_normal((n, 192)) for c, n in zip(centres, sizes, strict=True)])
    )
    pool = Pool(
        np.zeros(len(vectors), np.float32),
        np.zeros(len(vectors) + 1, np.int64),
        np.zeros(0, np.int32),
        projected(vectors),
    )
    chosen = np.flatnonzero(choose_images(pool, 150))
    assert len(chosen) == 150
    of_random = [covering_radius(vectors, rng.permutation(len(vectors))[:150]) for _ in range(5)]
    assert covering_radius(vectors, chosen) <= 0.8 * float(np.median(of_random))


def test_choose_images__a_rare_class_has_its_share() -> None:
    classes = [[0]] * 500 + [[1]] * 8 + [[0, 2]] * 40
    chosen = choose_images(_pool(classes), 60, num_classes=3)
    assert chosen[500:508].all()  # the class has only eight images
    assert chosen[508:].sum() >= 20
    assert chosen.sum() == 60


def test_choose_images__without_vectors_the_worthiest() -> None:
    pool = Pool(np.array([0.1, 0.9, 0.5, 0.9], np.float32), np.zeros(5, np.int64), np.zeros(0, np.int32))
    assert choose_images(pool, 2).tolist() == [False, True, False, True]
    one_each = [GroupLimit(np.array([0, 0, 1, 0]), 1)]
    assert choose_images(pool, 3, limits=one_each).tolist() == [False, True, True, False]


def test_choose_images__uncertain_ones_win_among_equally_far() -> None:
    vectors = _units(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    pool = Pool(np.array([0, 0.2, 0.8], np.float32), np.zeros(4, np.int64), np.zeros(0, np.int32), vectors)
    assert choose_images(pool, 1).tolist() == [False, False, True]
    assert choose_images(pool, 2).tolist() == [False, True, True]


def test_choose_images__nothing_to_choose_from() -> None:
    empty = Pool(np.zeros(0, np.float32), np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros((0, 4), np.float32))
    assert choose_images(empty, 5, num_classes=2, limits=[GroupLimit(np.zeros(0, np.int64), 1)]).tolist() == []


def test_projected__keeps_distances() -> None:
    rng = np.random.default_rng(1)
    vectors = _units(rng.standard_normal((200, 1024)) + 3 * rng.standard_normal((1, 1024)))
    made = projected(vectors)
    assert made.shape == (200, PROJECTED_DIMENSIONS)
    assert np.abs(made @ made.T - vectors @ vectors.T).max() < 0.2
    assert projected(vectors[:, :64]) is not None


def test_uncertainties__of_the_least_certain_box() -> None:
    offsets, classes = np.array([0, 0, 1, 3], np.int64), np.array([0, 0, 1], np.int32)
    confidences, thresholds = np.array([1.0, 0.3, 0.9], np.float32), np.array([0.3, 0.8], np.float32)
    assert uncertainties(offsets, classes, confidences, thresholds).tolist() == pytest.approx([0, 0, 1])
