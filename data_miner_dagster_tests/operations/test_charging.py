from pathlib import Path

import pytest

from data_miner_dagster.catalog.batches import end_batch, open_batches, take_project_batch
from data_miner_dagster.domain.errors import NothingToReleaseError
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.charging import charging
from data_miner_dagster_tests.support.catalog import add_project, last_attempt
from data_miner_dagster_tests.support.coloured_frames import ColourPlatform

RELEASING = WorkStage.RELEASING


def test_charging__what_a_stage_says_of_its_failure_is_not_taken_for_a_death(tmp_path: Path) -> None:
    platform = ColourPlatform(tmp_path)
    add_project(platform.database, "pets")
    batch = take_project_batch(platform.database, RELEASING, "pets")
    assert batch is not None
    with pytest.raises(NothingToReleaseError), charging(platform, "pets", RELEASING):
        raise NothingToReleaseError("0 candidates")
    assert open_batches(platform.database) == []
    end_batch(platform.database, batch.id, "its run died", died=True)  # as the next tick does for the run
    with platform.database.reading() as session:
        attempt = last_attempt(session, RELEASING, "pets")
        assert attempt is not None
        assert (attempt.kind, attempt.due_at) == ("nothing_to_release", None)
