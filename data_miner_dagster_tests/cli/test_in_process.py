"""What `data-miner run` makes of Dagster's results."""

import dagster as dg

from data_miner_dagster.cli.in_process import failed_checks


@dg.asset
def dataset() -> None:
    """Stands for what is checked."""


@dg.asset_check(asset=dataset)
def release_is_whole() -> dg.AssetCheckResult:
    """Fails, and says why."""
    return dg.AssetCheckResult(passed=False, description="release v001: images/a.jpg: its sha256 has changed")


@dg.asset_check(asset=dataset)
def is_there() -> dg.AssetCheckResult:
    """Passes."""
    return dg.AssetCheckResult(passed=True)


def test_failed_checks__says_which_and_why() -> None:
    with dg.instance_for_test() as instance:
        result = dg.Definitions(
            assets=[dataset],
            asset_checks=[release_is_whole, is_there],
            jobs=[dg.define_asset_job("build", selection="*")],
            executor=dg.in_process_executor,
        )
        executed = result.resolve_job_def("build").execute_in_process(instance=instance)
    assert executed.success
    assert failed_checks(executed) == (
        "the check release_is_whole of dataset failed: release v001: images/a.jpg: its sha256 has changed"
    )
