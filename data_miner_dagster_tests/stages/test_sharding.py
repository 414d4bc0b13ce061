from data_miner_dagster.domain.work import ShardRange
from data_miner_dagster.stages.sharding import cut_into_shards


def names(number: int) -> list[str]:
    return [f"files-a/{index:06d}" for index in range(number)]


def test_cut_into_shards__nothing() -> None:
    assert cut_into_shards([], 8) == []


def test_cut_into_shards__few_are_one() -> None:
    assert cut_into_shards(names(32), 8) == [ShardRange("files-a/000000", "files-a/000031", 0, 32)]


def test_cut_into_shards__whole_batches_and_a_rest() -> None:
    assert cut_into_shards(names(100), 24) == [  # 32 rounded up to whole batches
        ShardRange("files-a/000000", "files-a/000047", 0, 48),
        ShardRange("files-a/000048", "files-a/000095", 48, 48),
        ShardRange("files-a/000096", "files-a/000099", 96, 4),
    ]


def test_cut_into_shards__sixty_four_where_that_leaves_enough_for_each() -> None:
    assert [each.size for each in cut_into_shards(names(64 * 40), 8)] == [40] * 64


def test_cut_into_shards__bounded_however_many_there_are() -> None:
    shards = cut_into_shards(names(100_000), 8)
    assert len(shards) == 391
    assert {each.size for each in shards[:-1]} == {256}
    assert shards[-1] == ShardRange("files-a/099840", "files-a/099999", 99_840, 160)
