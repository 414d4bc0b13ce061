"""What becomes of a stage that fails on a project, whoever asked for it: it is on record, with a date."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from data_miner_dagster.catalog.attempts import clear_attempts
from data_miner_dagster.catalog.batches import batch_of, end_batch
from data_miner_dagster.catalog.charges import charge_run
from data_miner_dagster.domain.errors import NotReadyError
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.item_faults import attempt_extra
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.run_failures import failure_of_run


@contextmanager
def charging(platform: Platform, project: str, stage: WorkStage, *, basis: str | None = None) -> Iterator[None]:
    """Charge what the block raises to the project or to the whole stage; forget earlier failures if it raises nothing.

    What a planned run does is forgotten only when the run has ended well, with its checks. What somebody asks for too
    early (`NotReadyError`) is no failure, unless a planner did.

    Args:
        platform: the platform.
        project: what the stage works on.
        stage: the stage.
        basis: the fingerprint of its inputs; None: of what the project's build began with.
    """
    with platform.database.reading() as session:
        batch_id = batch_of(session, stage, project)
    try:
        yield
    except Exception as error:
        if batch_id is not None or not isinstance(error, NotReadyError):
            failure = replace(failure_of_run(error, stage, run_id=platform.run_id), basis=basis)

            def charge() -> None:
                if batch_id is not None:  # with its batch ended, nobody takes the end of the run for a death
                    end_batch(platform.database, batch_id, failure.message, failure=failure)
                    return
                with platform.database.transaction() as session:
                    charge_run(session, stage, failure, [project])

            # If the catalog is away, what came before it is what the caller is to hear of.
            attempt_extra("failure", project, charge)
        raise
    if batch_id is None:
        with platform.database.transaction() as session:
            clear_attempts(session, stage, [project])
