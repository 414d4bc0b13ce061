"""One life on PostgreSQL: a project of 20 videos whose platform is struck at random moments."""

from pathlib import Path

import pytest

from data_miner_dagster_tests.kills.conftest import Undisturbed
from data_miner_dagster_tests.kills.life import live

pytestmark = [pytest.mark.slow(90), pytest.mark.models, pytest.mark.postgres, pytest.mark.timeout(400)]


def test_life__struck_at_random_moments_ends_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    life = live(
        tmp_path / "life",
        undisturbed.server,
        undisturbed.names,
        database="postgresql",
        seed=7,
        num_strikes=2,
        expected=undisturbed.files,
    )
    assert life.faults == (), life
