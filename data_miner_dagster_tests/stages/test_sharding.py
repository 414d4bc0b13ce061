from data_miner_dagster.domain.work import ShardRange
from data_miner_dagster.stages.sharding import cut_into_shards


def names(number: int) -> list[str]:
    return [f"files-a/{index:06d}" for index in range(number)]


def test_cut_into_shards__nothing() -> None:
    assert cut_into_shards([], 8) == []


def test_cut_into_shards__few_are_one() -> None:
    assert cut_into_shards(names(32), 8) == [ShardRange("files-a/000000", "files-a/000031", 0, 32)]


def test_cut_into_shards__whole_batches_and_a_rest() -> None:
    assert cut_into_shards(names(100), 24) == [  # at least 32, rounded up to whole batches
        ShardRange("files-a/000000", "files-a/000047", 0, 48),
        ShardRange("files-a/000048", "files-a/000071", 48, 24),
        ShardRange("files-a/000072", "files-a/000095", 72, 24),
        ShardRange("files-a/000096", "files-a/000099", 96, 4),
    ]


def test_cut_into_shards__the_last_become_smaller() -> None:
    # at most a quarter of what is left, rounded up to whole batches: 24 of 96, and also 24 of 72, whose quarter is 18
    assert [each.size for each in cut_into_shards(names(192), 8)] == [32, 32, 32, 24, 24, 16, 8, 8, 8, 8]


def test_cut_into_shards__sixty_four_where_that_leaves_enough_for_each() -> None:
    shards = cut_into_shards(names(64 * 40), 8)
    assert [each.size for each in shards[:61]] == [40] * 61
    assert [each.size for each in shards[61:]] == [32, 24, 16, 16, 8, 8, 8, 8]


def test_cut_into_shards__bounded_however_many_there_are() -> None:
    shards = cut_into_shards(names(100_000), 8)
    assert {each.size for each in shards[:387]} == {256}
    assert len(shards) == 387 + 15
    assert shards[-1] == ShardRange("files-a/099992", "files-a/099999", 99_992, 8)
