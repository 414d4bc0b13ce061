"""Fixtures: a platform that the sensors open themselves, and a Dagster instance."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("DATA_MINER_PROFILE", "lite")
    for name in ("DATA_MINER_CONFIG", "DATA_MINER_CATALOG_URL"):
        monkeypatch.delenv(name, raising=False)
    return open_platform()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made
