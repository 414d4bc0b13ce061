from pathlib import Path

import pytest

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.preflight import check_before_work
from data_miner_dagster_tests.support.sample_project import build_project, project_config


def test_check_before_work__what_it_is_compared_with_must_be_ready(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="filtering")

    def check(config: ProjectConfig) -> None:
        check_before_work(platform, config)

    check(project_config("new"))
    with pytest.raises(ConfigError, match="'cyclists', which has not been deduplicated yet; run that project first"):
        check(project_config("new", deduplication={"against_projects": ["cyclists"]}))
    build_project(tmp_path, through="deduplication")
    check(project_config("new", deduplication={"against_projects": ["cyclists"]}))
