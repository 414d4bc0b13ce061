"""The real `dagster dev` over a root that `data-miner run` filled: it loads, and a backfill succeeds."""

import json
import shutil
from pathlib import Path

import pytest

from data_miner_dagster_tests.end_to_end.commands import data_miner, project, write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import DagsterDev

pytestmark = [pytest.mark.slow(40), pytest.mark.models, pytest.mark.timeout(600)]


def test_dagster_dev__a_backfill_over_graphql_succeeds(clips: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("carphone_pristine.mp4", "bikes.mp4"):
        shutil.copyfile(clips[name], tmp_path / "clips" / name)
    config = write_yaml(tmp_path / "dev.yaml", project("dev", [{"type": "files", "paths": ["clips"]}]))
    root = tmp_path / "root"
    done = data_miner("run", "--config", config, "--root", root)
    assert done.returncode == 0, done.stdout
    keys = [row["key"] for row in json.loads(data_miner("videos", "--json", "--root", root).stdout)]
    assert len(keys) == 2
    shutil.rmtree(root / "frames" / keys[0])
    running = DagsterDev(root)
    try:
        assert running.wait_for_backfill(running.launch_backfill(["frames"], sorted(keys))) == "COMPLETED_SUCCESS"
    finally:
        running.stop()
    assert (root / "frames" / keys[0] / "frames.parquet").exists(), "the backfill did not make what was missing"
