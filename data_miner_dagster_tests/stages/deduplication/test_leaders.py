"""Compare greedy leader clustering with a brute-force oracle and with cases worked out by hand."""

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_miner_dagster.domain.reasons import DuplicateTier
from data_miner_dagster.index.faiss_index import FaissHashIndex, FaissIndex
from data_miner_dagster.stages.deduplication import guarantees
from data_miner_dagster.stages.deduplication.appearances import AlikeRepresentatives, Appearances
from data_miner_dagster.stages.deduplication.distinctions import Distinctions
from data_miner_dagster.stages.deduplication.guarantees import verify_guarantees
from data_miner_dagster.stages.deduplication.leaders import (
    Assignment,
    find_representatives,
    quality_order,
    tiers_of,
)
from data_miner_dagster.stages.vectors import exact_cosines

Float16Array = npt.NDArray[np.float16]


@pytest.fixture(autouse=True, scope="module")
def _proof_in_small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guarantees, "_BLOCK_ROWS", 5)
        yield


def none_of(dimension: int) -> Float16Array:
    """Return an empty array of vectors."""
    return np.zeros((0, dimension), np.float16)


def halves(*rows: list[float]) -> Float16Array:
    """Return the rows as float16."""
    return np.asarray(rows, np.float16)


def random_units(num: int, dimension: int, seed: int = 0) -> Float16Array:
    """Return random unit vectors."""
    rows = np.random.default_rng(seed).standard_normal((num, dimension))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float16)


def find(
    newcomers: Float16Array,
    threshold: float,
    leaders: Float16Array | None = None,
    block: int = 2048,
    looks: Appearances | None = None,
) -> Assignment:
    """Find representatives with the exact indexes."""
    known = none_of(newcomers.shape[1]) if leaders is None else leaders
    alike = None if looks is None else AlikeRepresentatives(looks, FaissHashIndex(looks.max_hash_distance))
    index = FaissIndex(newcomers.shape[1])
    return find_representatives(known, newcomers, threshold, index, alike=alike, block_rows=block)


def looking(
    files: Sequence[int],
    hashes: Sequence[int],
    telling: Sequence[bool] | None = None,
    distance: int = 2,
    apart: Collection[tuple[int, int]] = (),
) -> Appearances:
    """Return the appearances of frames."""
    is_telling = np.ones(len(files), np.bool_) if telling is None else np.asarray(telling, np.bool_)
    return Appearances(
        np.asarray(files, np.int64),
        np.asarray(hashes, np.uint64),
        is_telling,
        distance,
        Distinctions(said_different=frozenset(apart)),
    )


def look_alike(looks: Appearances | None, one: int, other: int) -> bool:
    """Return whether two frames look alike, by the definition, in plain arithmetic."""
    if looks is None:
        return False
    bits = bin(int(looks.hashes[one]) ^ int(looks.hashes[other])).count("1")
    is_near = bits <= looks.max_hash_distance and bool(looks.is_telling[one]) and bool(looks.is_telling[other])
    return is_near or int(looks.file_codes[one]) == int(looks.file_codes[other])


def oracle(vectors: Float16Array, threshold: float, looks: Appearances | None = None) -> list[int]:
    """Return the id of each frame's representative, by the definition, frame by frame, in rational arithmetic."""
    rows = [[Fraction(float(x)) for x in row] for row in vectors]
    squares = [sum(x * x for x in row) for row in rows]
    named: list[int] = []
    for i, row in enumerate(rows):
        best: tuple[float, int] | None = None
        for j in range(i):
            if named[j] != j:
                continue
            dot = float(sum(x * y for x, y in zip(row, rows[j], strict=True)))
            length = float(np.sqrt(float(squares[i]) * float(squares[j])))
            cosine = dot / length if length else 0.0
            is_apart = looks is not None and (j, i) in looks.distinctions.said_different
            is_within = not is_apart and (cosine >= threshold or look_alike(looks, i, j))
            if is_within and (best is None or cosine > best[0]):
                best = (cosine, j)
        named.append(i if best is None else best[1])
    return named


def test_find_representatives__empty() -> None:
    assignment = find(none_of(4), 0.9)
    assert len(assignment.representative_ids) == 0
    assert len(assignment.is_representative) == 0


def test_find_representatives__200_identical_frames_keep_one() -> None:
    assignment = find(np.repeat(random_units(1, 768), 200, axis=0), 0.9, block=64)
    assert assignment.representative_ids.tolist() == [0] * 200
    assert assignment.similarities.tolist() == [1.0] * 200


def test_find_representatives__identical_frames_at_threshold_one() -> None:
    assert find(np.repeat(random_units(1, 768), 50, axis=0), 1.0, block=7).representative_ids.tolist() == [0] * 50


def test_find_representatives__pan_with_orthogonal_ends_keeps_at_least_5() -> None:
    # 19 frames, 5 degrees apart. A cosine of .95 is 18.2 degrees, so 3 neighbours on each side are within reach.
    angles = np.radians(np.linspace(0, 90, 19))
    pan = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    assignment = find(pan, 0.95)
    assert np.flatnonzero(assignment.is_representative).tolist() == [0, 4, 8, 12, 16]
    # The frame at 10 degrees lies between two representatives, but the later one did not exist yet.
    assert assignment.representative_ids[2] == 0


def test_find_representatives__names_the_most_similar_before_it() -> None:
    vectors = halves([1, 0], [0.6, 0.8], [0.8, 0.6], [0.7, 0.714])
    assert find(vectors, 0.9).representative_ids.tolist() == [0, 1, 1, 1]
    assert find(vectors, 0.7).representative_ids.tolist() == [0, 1, 1, 1]
    assert find(vectors, 0.6).representative_ids.tolist() == [0, 0, 0, 0]


def test_find_representatives__of_equally_similar_ones_the_earlier() -> None:
    vectors = halves([0, 1], [1, 0], [0.5, 0.5])
    assert find(vectors, 0.7).representative_ids.tolist() == [0, 1, 0]


def test_find_representatives__earlier_leaders_stay_and_are_named() -> None:
    leaders = halves([1, 0], [0, 1])
    assignment = find(halves([0.99, 0.1], [-1, 0], [-1, 0.01]), 0.9, leaders)
    assert assignment.representative_ids.tolist() == [0, 3, 3]
    assert assignment.is_representative.tolist() == [False, True, False]


def test_find_representatives__leaders_within_the_threshold_of_each_other_are_left_alone() -> None:
    leaders = np.repeat(halves([1.0, 0.0]), 3, axis=0)
    assert find(halves([1, 0]), 0.9, leaders).representative_ids.tolist() == [0]


@pytest.mark.parametrize("block", [1, 3, 64, 2048])
def test_find_representatives__block_size_changes_nothing(block: int) -> None:
    base = random_units(40, 16, seed=1)
    noisy = np.concatenate([base, base + random_units(40, 16, seed=2) * np.float16(0.4), base]).astype(np.float16)
    expected = find(noisy, 0.85, block=17)
    got = find(noisy, 0.85, block=block)
    assert got.representative_ids.tolist() == expected.representative_ids.tolist()
    assert got.similarities.tolist() == expected.similarities.tolist()


def test_find_representatives__threshold_is_inclusive_to_the_last_bit() -> None:
    pair = random_units(2, 768, seed=3)
    pair[1] = (pair[0] + pair[1]).astype(np.float16)
    cosine = float(exact_cosines(pair[:1], pair[1:])[0])
    assert find(pair, cosine).representative_ids.tolist() == [0, 0]
    assert find(pair, float(np.nextafter(cosine, 2))).representative_ids.tolist() == [0, 1]


coordinates = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0])


@settings(max_examples=150)
@given(
    vectors=hnp.arrays(np.float16, st.tuples(st.integers(0, 14), st.just(3)), elements=coordinates),
    threshold=st.sampled_from([-1.0, 0.0, 0.5, 0.6, 0.7071067811865475, 0.8, 0.9, 1.0]),
    block=st.integers(1, 5),
    num_earlier=st.integers(0, 14),
)
def test_find_representatives__equals_the_oracle_whole_and_in_two_batches(
    vectors: Float16Array, threshold: float, block: int, num_earlier: int
) -> None:
    expected = oracle(vectors, threshold)
    whole = find(vectors, threshold, block=block)
    assert whole.representative_ids.tolist() == expected

    first = find(vectors[:num_earlier], threshold, block=block)
    kept = np.flatnonzero(first.is_representative)
    second = find(vectors[num_earlier:], threshold, vectors[:num_earlier][kept], block=block)
    ids = np.concatenate([kept, np.arange(num_earlier, len(vectors))])
    assert first.representative_ids.tolist() == expected[:num_earlier]
    assert ids[second.representative_ids].tolist() == expected[num_earlier:]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    threshold=st.floats(0.3, 1.0),
    num=st.integers(1, 60),
    spread=st.floats(0.01, 1.0),
)
def test_find_representatives__both_guarantees_hold(seed: int, threshold: float, num: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((5, 32))[rng.integers(0, 5, num)] + spread * rng.standard_normal((num, 32))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    report = verify_guarantees(none_of(32), vectors, find(vectors, threshold, block=13).representative_ids, threshold)
    assert report.holds
    assert report.num_representatives + report.num_duplicates == num


FAR_APART = np.eye(6, dtype=np.float16)


def test_find_representatives__near_hashes_whatever_the_cosine() -> None:
    looks = looking(range(4), [0b0000, 0b0011, 0b0111, 0b11110000])
    assignment = find(FAR_APART[:4], 0.9, looks=looks)
    assert assignment.representative_ids.tolist() == [0, 0, 2, 3]  # 2 is three bits from 0, and 1 represents nothing
    assert assignment.similarities.tolist() == [1.0, 0.0, 1.0, 1.0]  # the cosine, even where the hash decided


def test_find_representatives__hashes_that_tell_nothing() -> None:
    for telling in ([True, False], [False, True], [False, False]):
        looks = looking(range(2), [5, 5], telling)
        assert find(FAR_APART[:2], 0.9, looks=looks).representative_ids.tolist() == [0, 1]


def test_find_representatives__equal_files_whatever_else() -> None:
    looks = looking([7, 8, 7, 7], [0, 2**20 - 1, 2**40 - 1, 2**60 - 1], [False] * 4)
    for block in (1, 2, 4):
        assert find(FAR_APART[:4], 0.9, looks=looks, block=block).representative_ids.tolist() == [0, 1, 0, 0]


def test_find_representatives__the_most_similar_of_all_within_reach() -> None:
    # By its hash, frame 3 is within reach of frames 0 (cosine 0) and 1 (cosine .6), but not of frame 2 (cosine .8).
    vectors = halves([1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.6, 0.8])
    looks = looking(range(4), [0b0011, 0b1100, 2**60 - 1, 0b0000])
    assert find(vectors, 0.9, looks=looks).representative_ids.tolist() == [0, 1, 2, 1]
    assert find(vectors, 0.79, looks=looks).representative_ids.tolist() == [0, 1, 2, 2]


def test_find_representatives__200_equal_hashes_keep_one() -> None:
    vectors = random_units(200, 64)
    assignment = find(vectors, 0.99, looks=looking(range(200), [12345] * 200), block=32)
    assert assignment.representative_ids.tolist() == [0] * 200


@settings(max_examples=60)
@given(
    vectors=hnp.arrays(np.float16, st.just((12, 3)), elements=coordinates),
    files=st.lists(st.integers(0, 5), min_size=12, max_size=12),
    hashes=st.lists(st.sampled_from([0, 1, 3, 7, 15, 2**63, 2**63 + 1, 2**64 - 1]), min_size=12, max_size=12),
    telling=st.lists(st.booleans(), min_size=12, max_size=12),
    distance=st.sampled_from([0, 1, 2, 9]),
    apart=st.sets(
        st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda pair: pair[0] < pair[1]), max_size=30
    ),
    threshold=st.sampled_from([0.6, 0.7071067811865475, 0.9, 1.0]),
    block=st.integers(1, 5),
    num_earlier=st.integers(0, 12),
)
def test_find_representatives__equals_the_oracle_with_files_hashes_and_pairs_told_apart(
    vectors: Float16Array,
    files: list[int],
    hashes: list[int],
    telling: list[bool],
    distance: int,
    apart: set[tuple[int, int]],
    threshold: float,
    block: int,
    num_earlier: int,
) -> None:
    def looks_of(rows: Sequence[int]) -> Appearances:
        ids = {row: number for number, row in enumerate(rows)}
        told = {(ids[low], ids[high]) for low, high in apart if low in ids and high in ids}
        return looking(
            [files[row] for row in rows], [hashes[row] for row in rows], [telling[row] for row in rows], distance, told
        )

    looks = looks_of(range(12))
    expected = oracle(vectors, threshold, looks)
    whole = find(vectors, threshold, block=block, looks=looks)
    assert whole.representative_ids.tolist() == expected
    none = none_of(3)
    assert verify_guarantees(none, vectors, whole.representative_ids, threshold, appearances=looks).holds

    first = find(vectors[:num_earlier], threshold, block=block, looks=looks_of(range(num_earlier)))
    kept = np.flatnonzero(first.is_representative)
    ids = np.concatenate([kept, np.arange(num_earlier, 12)])
    leaders = vectors[:num_earlier][kept]
    second = find(vectors[num_earlier:], threshold, leaders, block=block, looks=looks_of(ids.tolist()))
    assert ids[second.representative_ids].tolist() == expected[num_earlier:]


def test_find_representatives__told_apart_pairs_are_out_of_reach_whatever_is_alike() -> None:
    same = np.repeat(random_units(1, 64), 4, axis=0)
    looks = looking([7, 7, 7, 7], [5, 5, 5, 5], apart=[(0, 1), (0, 3), (1, 3)])
    for block in (1, 2, 4):
        assignment = find(same, 0.9, looks=looks, block=block)
        assert assignment.representative_ids.tolist() == [0, 1, 0, 3]
    for wrong in ([0, 0, 0, 3], [0, 1, 2, 3]):  # removed for one it is told apart from; kept without being told apart
        report = verify_guarantees(none_of(64), same, np.asarray(wrong), 0.9, appearances=looks)
        assert not report.holds


def quality_table(rows: list[tuple[int, float, float, int, str]]) -> pa.Table:
    """Return a table to pass to `quality_order`."""
    names = ["generation", "positive_similarity", "sharpness", "num_pixels", "frame_id"]
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})


def test_quality_order__each_key_in_turn() -> None:
    best_first = [
        (0, 0.5, 10.0, 100, "b"),
        (0, 0.5, 9.0, 200, "a"),
        (0, 0.5, 9.0, 100, "a2"),
        (0, 0.5, 9.0, 100, "a3"),
        (0, 0.4, 99.0, 900, "a0"),
        (1, 0.9, 99.0, 900, "a1"),
    ]
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(best_first))
        table = quality_table([best_first[i] for i in order])
        assert [best_first[order[i]] for i in quality_order(table)] == best_first


def test_quality_order__empty() -> None:
    assert quality_order(quality_table([])).tolist() == []


def test_tiers_of__plainest_first() -> None:
    frames = pa.table(
        {
            "video_key": ["v-1", "v-1", "v-1", "v-1", "v-2", "v-9"],
            "foreign_tier": pa.array([None, None, None, None, None, "other_project"], pa.string()),
        }
    )
    looks = looking([1, 1, 2, 3, 4, 1], [0b1111, 0b1111, 0b1100, 0b1000, 2**63, 0b1111])
    assert tiers_of(frames, looks, np.array([1, 1, 2, 3, 4]), np.array([5, 0, 0, 0, 0])) == [
        DuplicateTier.OTHER_PROJECT,
        DuplicateTier.EXACT,
        DuplicateTier.PERCEPTUAL_HASH,
        DuplicateTier.WITHIN_VIDEO,
        DuplicateTier.ACROSS_VIDEOS,
    ]
    blind = looking([1, 2], [5, 5], [True, False])
    assert tiers_of(frames, blind, np.array([1]), np.array([0])) == [DuplicateTier.WITHIN_VIDEO]


def test_tiers_of__empty() -> None:
    frames = pa.table({"video_key": pa.array([], pa.string()), "foreign_tier": pa.array([], pa.string())})
    none = np.zeros(0, np.int64)
    assert tiers_of(frames, looking([], []), none, none) == []
