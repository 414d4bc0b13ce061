"""`data-miner cost`: what was measured, as a table and as JSON."""

import json
from pathlib import Path

import pytest

from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import Meter, note
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_project


def spend(platform: Platform, stage: WorkStage, subject: str, measured: Measured) -> None:
    with Meter(stage, subject).working(), platform.database.transaction() as session:
        note(measured)
        store_spent(session, subject)


def test_cost__says_what_was_measured(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    for key in ("files-aaa", "files-bbb"):
        spend(platform, WorkStage.DOWNLOADING, key, Measured(num_requests=7, bytes_received=70_000))
    spend(platform, WorkStage.DETECTION, "cyclists", Measured(gpu_seconds=28, num_boxes=4))
    head, *rows, in_all = run_command("cost", "cyclists", "--root", platform.root).stdout.splitlines()
    assert head.split()[:5] == ["stage", "items", "failed", "requests", "received"]
    cells = {row.split()[0]: row for row in rows}
    assert list(cells) == ["downloading", "detection", "all"]
    assert cells["downloading"].split()[3:6] == ["14", "140", "kB"]
    assert " 28 s " in cells["detection"]
    assert in_all.startswith("14 requests, 140 kB received, ")
    assert in_all.endswith("28 s GPU in all")
    found = json.loads(run_command("cost", "cyclists", "--root", platform.root, "--json").stdout)
    assert (found["total"]["num_requests"], found["total"]["bytes_received"]) == (14, 140_000)
    assert [stage["stage"] for stage in found["stages"]] == ["downloading", "detection"]
    assert found["per_image"] is None  # there is no release


def test_cost__of_no_project(run_command: RunCommand, tmp_path: Path) -> None:
    root = build_project(tmp_path).root
    with pytest.raises(ConfigError, match="trams"):
        run_command("cost", "trams", "--root", root)
