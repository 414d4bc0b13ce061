"""Tests one life on each database: a project of 20 videos, with strikes at random moments."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.life import live
from data_miner_dagster_tests.kills.platform import reference_result
from data_miner_dagster_tests.kills.server import CountingServer

pytestmark = [pytest.mark.slow(320), pytest.mark.models, pytest.mark.timeout(2400)]


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A site, its clips, and the files that an undisturbed project makes of them."""

    server: CountingServer
    names: list[str]
    files: dict[str, str]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    """Yield the undisturbed project that lives are compared with."""
    try:
        fetch_profile("lite", progress=print)
        samples = next(iter(fetch_samples(progress=print).values())).parent
    except ModelError as error:
        pytest.skip(f"the lite models and sample clips cannot be fetched: {error}")
    folder = tmp_path_factory.mktemp("kills")
    names = write_clips(folder / "clips", samples, 20)
    server = CountingServer(folder / "clips", seconds_a_file=0.05)
    yield Undisturbed(server, names, reference_result(folder, server, names))
    server.close()


@pytest.mark.parametrize(
    ("database", "seed"), [("sqlite", 1), pytest.param("postgresql", 7, marks=pytest.mark.postgres)]
)
def test_life__struck_at_random_moments_ends_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: Undisturbed, database: str, seed: int
) -> None:
    life = live(
        tmp_path / "life",
        undisturbed.server,
        undisturbed.names,
        database=database,
        seed=seed,
        num_strikes=2,
        expected=undisturbed.files,
    )
    assert life.faults == (), life
