import numpy as np
import pytest

from data_miner_dagster.stages.splitting import leaks
from data_miner_dagster.stages.splitting.leaks import ComparedImages, Leak, LeakLimits, find_leaks

LIMITS = LeakLimits(hash_distance=2, cosine=0.9)
BITS = np.uint64(0xFFFF0000FFFF0000)


def images(splits: list[int], videos: list[int], cosines_to_first: list[float]) -> ComparedImages:
    """Return images with equal hashes, whose vectors have these cosines with the first vector."""
    vectors = np.array([[cosine, np.sqrt(1 - cosine**2)] for cosine in cosines_to_first], np.float16)
    hashes = np.full(len(splits), BITS)
    return ComparedImages(np.array(splits), np.array(videos), hashes, np.ones(len(splits), np.bool_), vectors)


def test_find_leaks__empty() -> None:
    tally = find_leaks(images([], [], []), LIMITS)
    assert (tally.num_pairs, tally.num_leaks, list(tally.closest)) == (0, 0, [])


def test_find_leaks__only_pairs_of_two_splits_count() -> None:
    tally = find_leaks(images([0, 0, 1], [0, 1, 2], [1.0, 1.0, 0.0]), LIMITS)
    assert (tally.num_pairs, tally.num_leaks) == (2, 0)
    tally = find_leaks(images([0, 0, 1], [0, 1, 2], [1.0, 0.0, 1.0]), LIMITS)
    assert tally.num_leaks == 1
    (leak,) = tally.closest
    assert (leak.one, leak.other) == (0, 2)
    assert leak.cosine == pytest.approx(1, abs=1e-3)


def test_find_leaks__both_have_to_find_a_pair_alike() -> None:
    alike = images([0, 1], [0, 1], [1.0, 1.0])
    alike.hashes[1] = alike.hashes[0] ^ np.uint64(3)
    assert find_leaks(alike, LIMITS).closest[0].hash_distance == 2
    alike.hashes[1] = alike.hashes[0] ^ np.uint64(7)
    assert find_leaks(alike, LIMITS).num_leaks == 0
    alike.hashes[1] = alike.hashes[0]
    alike.is_telling[1] = False
    assert find_leaks(alike, LIMITS).num_leaks == 0
    assert find_leaks(images([0, 1], [0, 1], [1.0, 0.8]), LIMITS).num_leaks == 0


def test_find_leaks__without_another_encoder_hashes_alone() -> None:
    alike = images([0, 1], [0, 1], [1.0, 1.0])
    blind = ComparedImages(alike.split_codes, alike.video_codes, alike.hashes, alike.is_telling, None)
    assert find_leaks(blind, LIMITS).closest == [Leak(0, 1, 0, None)]
    alike.hashes[1] = ~alike.hashes[0]
    assert find_leaks(blind, LIMITS).num_leaks == 0


def test_find_leaks__parts_of_one_video_and_what_a_person_called_different() -> None:
    within = find_leaks(images([0, 1], [0, 0], [1.0, 1.0]), LIMITS)
    assert (within.num_leaks, within.num_within_videos) == (0, 1)
    said = find_leaks(images([0, 1, 1], [0, 1, 2], [1.0, 1.0, 1.0]), LIMITS, frozenset({(0, 1)}))
    assert [(leak.one, leak.other) for leak in said.closest] == [(0, 2)]


def test_find_leaks__like_a_plain_loop_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    splits = np.sort(generator.integers(0, 3, 50))
    vectors = generator.normal(size=(50, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    hashes = generator.integers(0, 2**63, 50).astype(np.uint64)
    told = generator.random(50) < 0.5
    compared = ComparedImages(splits, np.arange(50), hashes, told, vectors)
    limits = LeakLimits(hash_distance=30, cosine=0.3)
    wanted = set()
    for one in range(50):
        for other in range(one + 1, 50):
            is_near = told[one] and told[other] and (int(hashes[one]) ^ int(hashes[other])).bit_count() <= 30
            is_close = vectors[one].astype(np.float32) @ vectors[other].astype(np.float32) >= np.float32(0.3)
            if splits[one] != splits[other] and is_near and is_close:
                wanted.add((one, other))
    assert wanted
    for block in (7, 50, 64):
        monkeypatch.setattr(leaks, "BLOCK", block)
        monkeypatch.setattr(leaks, "MAX_NAMED", 10_000)
        tally = find_leaks(compared, limits)
        assert {(leak.one, leak.other) for leak in tally.closest} == wanted
        assert tally.num_leaks == len(wanted)
        numbers = np.bincount(splits)
        assert tally.num_pairs == (50**2 - (numbers**2).sum()) // 2
