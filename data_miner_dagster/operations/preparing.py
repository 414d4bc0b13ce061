"""Embed the prompts of builds while their videos are being processed, and load models that this process will need.

Belongs here: work that is the same for all videos and always needed. Does not belong here: decisions and results of
stages. Only the vectors of prompts are stored, for reuse.
"""

import importlib
from collections.abc import Collection
from functools import partial
from types import TracebackType
from typing import Final, Self

from data_miner_dagster.domain.at_work import InheritingThreads, working_on
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.exemplars import exemplars_of
from data_miner_dagster.operations.item_faults import attempt_extra
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.prompts import score_prompts

_STAGES: Final = tuple(
    f"data_miner_dagster.operations.{module}"
    for module in (
        "filtering.filter_project",
        "deduplication.deduplicate_project",
        "detection.detect_project",
        "releasing.release_project",
    )
)


class Preparation:
    """Prepares each build once, in a background thread.

    As a context manager, it waits for the preparations when the block ends, unless the block raised.

    Args:
        platform: the platform.
        loads_models: True if this process also runs the build, so that its models and libraries are loaded now.
    """

    def __init__(self, platform: Platform, *, loads_models: bool) -> None:
        self._platform = platform
        self._loads_models = loads_models
        self._begun: set[str] = set()
        self._thread = InheritingThreads(1, "preparation")

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for all requested preparations. If the block raised, cancel those not yet started, and do not wait."""
        self._thread.shutdown(wait=error is None, cancel_futures=error is not None)

    def begin(self, projects: Collection[str]) -> None:
        """Start preparing the builds of projects in the background. Projects of earlier calls are ignored."""
        for project in sorted(set(projects) - self._begun):
            self._begun.add(project)
            with working_on(stage=WorkStage.FILTERING.value.lower(), project=project):  # the first stage that needs it
                self._thread.submit(attempt_extra, "preparation", project, partial(self._prepare, project))

    def _prepare(self, project: str) -> None:
        config, models = self._platform.project_config(project), self._platform.models
        exemplars = exemplars_of(self._platform, project, config.filtering)
        score_prompts(self._platform, config.filtering, config.filtering.texts, exemplars)
        if self._loads_models:
            for module in _STAGES:
                importlib.import_module(module)
            for role in (models.encoder(config.deduplication.encoder), *models.detectors(config.detection.detectors)):
                role.load()
