from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_project


def test_train_check__refuses_an_unknown_network_before_it_looks_for_a_release(
    run_command: RunCommand, tmp_path: Path
) -> None:
    platform = build_project(tmp_path, through="sourcing")
    for_project = ["train-check", "cyclists", "--root", platform.root]
    with pytest.raises(ConfigError, match=r"network 'yolo11q' does not exist .* yolo11 "):
        run_command(*for_project, "--network", "yolo11q")
    with pytest.raises(ConfigError, match="project 'cyclists' has no release"):
        run_command(*for_project, "--network", "yolo11n")
