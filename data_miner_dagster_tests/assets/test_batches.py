"""What runs do besides processing their batches."""

from pathlib import Path

from data_miner_dagster.assets.batches import preparing
from data_miner_dagster.catalog.batches import Batch
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.draining import Drain
from data_miner_dagster.operations.preparing import Preparation
from data_miner_dagster_tests.support.axis_project import PlantedPlatform, save_project
from data_miner_dagster_tests.support.catalog import add_video


def test_preparing__begins_with_the_first_new_embeddings(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    for name, prompt in (("pets", "cat"), ("streets", "bus")):
        save_project(platform, name, positive=[prompt], templates=["{}"])
    add_video(platform.database, "generic-1", "pets")
    reported: list[OutcomeStatus] = []
    work = Drain(
        platform, (WorkStage.EMBEDDING,), "run", report=lambda _stage, outcome: reported.append(outcome.status)
    )
    with Preparation(platform, loads_models=False) as preparation:
        prepared = preparing(work, preparation)
        prepared.on_batch(Batch(1, WorkStage.EMBEDDING, ("generic-1",)))
        prepared.report(WorkStage.EMBEDDING, VideoOutcome("generic-1", OutcomeStatus.REUSED))
        prepared.report(WorkStage.EXTRACTION, VideoOutcome("generic-1", OutcomeStatus.DONE))
    assert platform.encoder.texts_embedded == []
    with Preparation(platform, loads_models=False) as preparation:
        prepared = preparing(work, preparation)
        prepared.on_batch(Batch(1, WorkStage.EMBEDDING, ("generic-1",)))
        prepared.report(WorkStage.EMBEDDING, VideoOutcome("generic-1", OutcomeStatus.DONE))
    assert platform.encoder.texts_embedded == ["cat"]  # the prompt of the project that wants the video
    assert reported == [OutcomeStatus.REUSED, OutcomeStatus.DONE, OutcomeStatus.DONE]
