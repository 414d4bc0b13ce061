"""A project on a Ray cluster of a head and two nodes, one of which dies at work: the same bytes as on one machine."""

from functools import partial
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster_tests.clusters.ray_life import Plan, live_on_ray
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.platform import reference_result
from data_miner_dagster_tests.kills.server import CountingServer

pytestmark = [pytest.mark.slow(165), pytest.mark.models, pytest.mark.postgres, pytest.mark.timeout(2400)]


def test_ray__a_node_that_dies_in_the_middle_of_extraction_costs_nothing_that_was_finished(tmp_path: Path) -> None:
    try:
        fetch_profile("lite", progress=print)
        samples = next(iter(fetch_samples(progress=print).values())).parent
    except ModelError as error:
        pytest.skip(f"the lite models and sample clips cannot be fetched: {error}")
    names = write_clips(tmp_path / "clips", samples, 12)
    server = CountingServer(tmp_path / "clips", seconds_a_file=0.05)
    try:
        reference = partial(reference_result, tmp_path, server, names)
        life = live_on_ray(tmp_path / "life", server, names, Plan(strikes=[("node", "extract_frames")]), reference)
    finally:
        server.close()
    assert life.faults == (), life
