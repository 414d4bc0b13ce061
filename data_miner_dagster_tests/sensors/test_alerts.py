"""The sensor's ticks report a failed project once, and its recovery once."""

from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster.catalog.projects import update_project
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors import work
from data_miner_dagster_tests.end_to_end.commands import write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.sensors.ticks import drop_project, list_projects, tick
from data_miner_dagster_tests.support.webhook import serving_webhook


def tick_that_looks(instance: dg.DagsterInstance) -> None:
    work._regular_watch.cache_clear()  # as if half a minute had passed
    tick(instance)


def test_wanted_work__tells_a_webhook_once_of_a_project_that_has_failed(
    instance: dg.DagsterInstance, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_webhook() as webhook:
        (tmp_path / "hook").write_text(f"json://127.0.0.1:{webhook.port}/")
        alerts = {"targets": [f"file:{tmp_path / 'hook'}"], "min_free_bytes": 0}
        monkeypatch.setenv(
            "DATA_MINER_CONFIG", str(write_yaml(tmp_path / "platform.yaml", {"platform": {"alerts": alerts}}))
        )
        assert open_platform().config.alerts.targets
        drop_project(platform)
        list_projects(instance, platform, "street")
        update_project(platform.database, "street", stage=ProjectStage.FAILED, error="filtering: no frame is left")
        for _ in range(2):
            tick_that_looks(instance)
            wait_for("the message", lambda: webhook.told or None, timeout=120, every=0.02)
        update_project(platform.database, "street", stage=ProjectStage.FILTERING, error=None)
        tick_that_looks(instance)
        wait_for("the end", lambda: len(webhook.told) > 1 or None, timeout=120, every=0.02)
    assert [(told["title"], told["type"]) for told in webhook.told] == [
        ("data-miner: Project street has failed", "failure"),
        ("data-miner: Project street has failed (resolved)", "success"),
    ]
    assert "filtering: no frame is left; 'data-miner retry --project street'" in webhook.told[0]["message"]
