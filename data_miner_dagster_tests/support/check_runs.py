"""Run an asset check with Dagster itself, on the platform that the environment names."""

from functools import cache
from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster.asset_checks import ALL_CHECKS
from data_miner_dagster.config.environment import PROFILE_VARIABLE, ROOT_VARIABLE
from data_miner_dagster.jobs import ALL_ASSETS
from data_miner_dagster.partitions import PARTITION_TAG
from data_miner_dagster.resources.platform import PlatformResource


def run_check(
    check: dg.AssetChecksDefinition, root: Path, project: str | None, monkeypatch: pytest.MonkeyPatch
) -> dg.AssetCheckEvaluation:
    """Execute one check as a job, for a project or without a partition, and return what Dagster has recorded."""
    monkeypatch.setenv(ROOT_VARIABLE, str(root))
    monkeypatch.setenv(PROFILE_VARIABLE, "lite")
    name = check.check_key.name
    tags = {} if project is None else {PARTITION_TAG: project}
    with dg.DagsterInstance.ephemeral() as instance:
        done = (
            _definitions().resolve_job_def(name).execute_in_process(instance=instance, tags=tags, raise_on_error=False)
        )
    (evaluation,) = done.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.partition) == (name, project)
    assert done.success is (evaluation.passed or not evaluation.blocking)  # a blocking check that fails stops the run
    return evaluation


def figures_of(evaluation: dg.AssetCheckEvaluation) -> dict[str, object]:
    """Return the metadata of an evaluation as plain values."""
    return {name: value.value for name, value in evaluation.metadata.items()}


@cache
def _definitions() -> dg.Definitions:
    return dg.Definitions(
        assets=ALL_ASSETS,
        asset_checks=ALL_CHECKS,
        jobs=[
            dg.define_asset_job(check.check_key.name, selection=dg.AssetSelection.checks(check)) for check in ALL_CHECKS
        ],
        resources={"platform": PlatformResource()},
        executor=dg.in_process_executor,
    )
