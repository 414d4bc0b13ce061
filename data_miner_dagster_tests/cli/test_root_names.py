"""Roots whose names have a special meaning in addresses, globs or markup."""

import os
import sqlite3
from pathlib import Path

import pytest

from data_miner_dagster.catalog.claims import live_claims
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.deployment import prepare_dagster_home
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.upkeep.traces import find_traces
from data_miner_dagster_tests.cli.conftest import RunCommand


@pytest.mark.parametrize("name", ["a%20b", "q?x=1", "r[x]", "[b]", "#1", "100%", "~", "two\nlines", "é 🎬", "a;b&c"])
def test_root__any_name_holds_its_own_catalog(run_command: RunCommand, tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    result = run_command("init-db", "--root", root)
    assert result.exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with sqlite3.connect(root / "catalog.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM videos").fetchone() == (0,)
    connection.close()
    assert run_command("status", "--root", root).exit_code == 0
    platform = Platform(PlatformConfig(), root)
    with platform.hold_video("v"):
        assert [claim.resource for claim in live_claims(platform.database)] == ["video/v"]
    platform.database.dispose()
    traces = list(find_traces([root], ["project_videos"]))  # a word in the schema, so that the file is opened
    assert traces
    assert not [trace for trace in traces if "cannot be read" in repr(trace)]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_root__that_is_no_utf_8_is_refused_in_one_line(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    with pytest.raises(ConfigError, match=r"/caf\\xe9, is not UTF-8"):
        Platform(PlatformConfig(), root)


@pytest.mark.parametrize(("name", "is_taken"), [("a%20b", False), ("q?x=1", False), ("100% [x] #1", True)])
def test_dagster_home__is_refused_where_dagster_would_not_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_taken: bool
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    layout = Platform(PlatformConfig(), tmp_path / name).layout
    if is_taken:
        assert prepare_dagster_home(layout) == layout.dagster_home
        return
    with pytest.raises(ConfigError, match="set DAGSTER_HOME to another folder, or") as refused:
        prepare_dagster_home(layout)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    assert prepare_dagster_home(layout) == tmp_path / "home"
