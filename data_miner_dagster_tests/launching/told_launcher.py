"""A launcher of another machine, which says of a run what a test has told it."""

from collections.abc import Mapping
from typing import Any, Final

from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._serdes import ConfigurableClass, ConfigurableClassData

HEALTH: Final[dict[str, CheckRunHealthResult]] = {}
"""What it says of each run. It does not know others."""


class ToldLauncher(RunLauncher[Any], ConfigurableClass):
    """Launches nothing."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]  # dagster's

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """As dagster has it."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """There is nothing to say."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "ToldLauncher":
        """Return it."""
        return cls(inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: that is what it is for."""
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        """Nothing."""

    def terminate(self, run_id: str) -> bool:  # noqa: ARG002 - dagster's signature
        """Nothing."""
        return False

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return what it was told."""
        return HEALTH.get(run.run_id, CheckRunHealthResult(WorkerStatus.NOT_FOUND))
