"""A launcher of runs on another machine that reports the health that a test sets for each run."""

from collections.abc import Mapping
from typing import Any, Final

from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._serdes import ConfigurableClass, ConfigurableClassData

HEALTH: Final[dict[str, CheckRunHealthResult]] = {}
"""The health that `ToldLauncher` reports for each run. Other runs are not found."""


class ToldLauncher(RunLauncher[Any], ConfigurableClass):
    """A launcher that does not launch anything."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]  # dagster's

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "ToldLauncher":
        return cls(inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return True, so that Dagster asks for the health of runs."""
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        """Do nothing."""

    def terminate(self, run_id: str) -> bool:  # noqa: ARG002 - dagster's signature
        return False

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return the health set in `HEALTH`."""
        return HEALTH.get(run.run_id, CheckRunHealthResult(WorkerStatus.NOT_FOUND))
