"""How `data-miner run` reports Dagster's results."""

from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster.cli.in_process import InProcessRunner, failed_checks
from data_miner_dagster.domain.errors import ConfigError, DataMinerError, NothingToReleaseError
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster.partitions import PROJECTS, add_partitions
from data_miner_dagster_tests.end_to_end.commands import project, write_yaml


@dg.asset
def dataset() -> None:
    """Provide an asset to check."""


@dg.asset_check(asset=dataset)
def release_is_whole() -> dg.AssetCheckResult:
    """Fail with a description."""
    return dg.AssetCheckResult(passed=False, description="release v001: images/a.jpg: its sha256 has changed")


@dg.asset_check(asset=dataset)
def is_there() -> dg.AssetCheckResult:
    """Pass."""
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


@pytest.mark.parametrize(
    ("against", "kind", "message"),
    [
        ([], NothingToReleaseError, "project 'street' has nothing to release: 0 candidates found"),
        (["garden"], ConfigError, "names 'garden', which has not been deduplicated"),
    ],
)
def test_build_dataset__raises_what_failed_by_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, against: list[str], kind: type[DataMinerError], message: str
) -> None:
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("DATA_MINER_PROFILE", "lite")
    platform = open_platform()
    for name, section in (("garden", {}), ("street", {"against_projects": against})):
        content = project(name, [{"type": "files", "paths": ["*.mp4"]}], deduplication=section)
        del content["platform"]
        register_project_file(platform, write_yaml(tmp_path / f"{name}.yaml", content))
    with dg.instance_for_test() as instance:
        add_partitions(instance, PROJECTS, ["street"])
        with pytest.raises(DataMinerError, match=message) as raised:
            InProcessRunner(platform, instance, "street").build_dataset(force=False)
    assert type(raised.value) is kind
