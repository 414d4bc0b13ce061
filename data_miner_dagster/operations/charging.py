"""Record the failure of a project's stage and the time of the next attempt, no matter who started the stage."""

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
    """Count an exception in the block as a failure of the project or the stage.

    Earlier failures are forgotten when the block succeeds. If a planner requested the work, they are forgotten only
    when the whole run, including its checks, has succeeded. A `NotReadyError` counts as a failure only if a planner
    requested the work.

    Args:
        platform: the platform.
        project: the project that the stage works on.
        stage: the stage.
        basis: the fingerprint of the stage's inputs, or None for the inputs that the project's build began with.
    """
    with platform.database.reading() as session:
        batch_id = batch_of(session, stage, project)
    try:
        yield
    except Exception as error:
        if batch_id is not None or not isinstance(error, NotReadyError):
            failure = replace(failure_of_run(error, stage, run_id=platform.run_id), basis=basis)

            def charge() -> None:
                if batch_id is not None:  # a batch left open by the run would count as a crash
                    end_batch(platform.database, batch_id, failure.message, failure=failure)
                    return
                with platform.database.transaction() as session:
                    charge_run(session, stage, failure, [project])

            # If the catalog is unreachable, the caller still needs to see the original error.
            attempt_extra("failure", project, charge)
        raise
    if batch_id is None:
        with platform.database.transaction() as session:
            clear_attempts(session, stage, [project])
