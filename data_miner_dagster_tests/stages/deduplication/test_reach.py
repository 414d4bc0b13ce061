"""The most similar representative within reach is found even if many others are told apart."""

import numpy as np

from data_miner_dagster.index.faiss_index import FaissHashIndex, FaissIndex
from data_miner_dagster.stages.deduplication.appearances import AlikeRepresentatives, Appearances
from data_miner_dagster.stages.deduplication.distinctions import Distinctions
from data_miner_dagster.stages.deduplication.leaders import find_representatives


def test_find_representatives__goes_down_the_order_of_similarity_until_one_is_not_told_apart() -> None:
    # 80 representatives of one view, all told apart from each other. The frame is told apart from the nearest 75.
    angles = np.radians(np.linspace(1, 9, 80))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    vectors = np.concatenate([vectors, [[1.0, 0.0]]]).astype(np.float16)
    pairs = {(low, high) for high in range(80) for low in range(high)} | {(low, 80) for low in range(75)}
    distinctions = Distinctions(said_different=frozenset(pairs))
    for block in (7, 100):
        looks = Appearances(np.arange(81), np.zeros(81, np.uint64), np.zeros(81, np.bool_), 4, distinctions)
        alike = AlikeRepresentatives(looks, FaissHashIndex(4))
        named = find_representatives(vectors[:0], vectors, 0.9, FaissIndex(2), alike=alike, block_rows=block)
        assert named.representative_ids.tolist() == [*range(80), 75]
