"""What lives are compared with. Each database has a file of its own, so that two workers live at the same time."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.platform import reference_result
from data_miner_dagster_tests.kills.server import CountingServer


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A site, its clips, and the files that they become when nothing happens."""

    server: CountingServer
    names: list[str]
    files: dict[str, str]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
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
