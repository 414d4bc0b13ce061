"""The time for foreign text grows only linearly with its length. Quadratic time would be minutes for 100 kB."""

from collections.abc import Iterator

import pytest

from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.pool import WorkerPool

LENGTH = 100_000


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool("data_miner_dagster_tests.sites.pattern_jobs") as pool:
        yield pool


@pytest.mark.parametrize(
    "piece",
    [
        "<meta ",
        "<meta name" + " " * 10,
        "<meta " * 300 + ">",
        "name=",
        "<meta a=\"'",
        "<!--",
        "<![",
        "<script></",
        "</a ",
        "x-",
        "x-a-",
        "cookie ",
        "cookie: bearer ",
        "a@",
        "a+",
        "a://",
        "a=b&",
        "#",
        "%",
        "0",
        "[",
        " ",
        "\n",
        "\x1b[0",
        "ERROR: ",
        "try again later ",
    ],
)
def test_foreign_text__takes_seconds_however_it_is_made(pool: WorkerPool, piece: str) -> None:
    text = (piece * (LENGTH // len(piece) + 1))[:LENGTH]
    for begin in ("", "http://", "<meta "):
        pool.call("read", {"text": begin + text}, limits=WorkerLimits(cpu_seconds=5))
