"""Tests, on a small project's whole life, that values from the environment are used but appear in no text."""

from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain import secret_values
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reporting.previews import kept_tiles
from data_miner_dagster.operations.upkeep.traces import find_traces
from data_miner_dagster_tests.end_to_end.commands import data_miner, environment, project, write_yaml
from data_miner_dagster_tests.end_to_end.conftest import RecordingServer

pytestmark = [pytest.mark.slow(40), pytest.mark.models, pytest.mark.timeout(2400)]

VALUES: Final = {
    "DM_TEST_MAKER": "the zqstudio of 4711",
    "DM_TEST_PROMPT": "a unicycle rider",
    "DM_TEST_PHRASE": "bicycle",
    "DM_TEST_VISITOR": "zqvisitor/4711",
    "DM_TEST_FOLDER": "zqfolder",
}


@pytest.fixture(autouse=True)
def own_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the values read here from changing the messages that other tests check."""
    monkeypatch.setattr(secret_values, "_references", {})


def write_project(path: Path, address: str, *, description: str) -> Path:
    sources = [
        {"type": "urls", "urls": [f"{address}/bikes.mp4?from=${{oc.env:DM_TEST_VISITOR}}"]},
        {"type": "urls", "urls": ["http://127.0.0.1:9/${oc.env:DM_TEST_VISITOR}.mp4"]},  # no server listens there
        {"type": "files", "paths": ["nowhere/${oc.env:DM_TEST_FOLDER}"]},
    ]
    content = project(
        "riders",
        sources,
        description=description,
        filtering={
            "positive": ["${oc.env:DM_TEST_PROMPT}"],
            "negative": ["no ${filtering.positive.0}"],
            "positive_threshold": -0.9,
            "negative_margin": -1.0,
        },
        detection={"classes": {"cycle": ["${oc.env:DM_TEST_PHRASE}"]}},
    )
    return write_yaml(path, content)


def test_run__a_value_of_the_environment_stands_in_no_text(served_clips: RecordingServer, tmp_path: Path) -> None:
    root, env = tmp_path / "root", environment(**VALUES)
    printed = ""

    def say(*arguments: str | Path, status: int = 0) -> str:
        nonlocal printed
        done = data_miner(*arguments, env=env)
        assert done.returncode == status, done.stdout
        printed += done.stdout
        return done.stdout

    first = write_project(tmp_path / "riders.yaml", served_clips.address, description="by ${oc.env:DM_TEST_MAKER}")
    assert "there is no file or folder" in say("config", "check", first, status=2)
    say("--verbose", "run", "--config", first, "--root", root)
    assert any(path.endswith("?from=zqvisitor/4711") for path in served_clips.requests)
    write_project(first, served_clips.address, description="of ${oc.env:DM_TEST_MAKER}, again")
    say("run", "--config", first, "--root", root)
    manifest = (root / "releases/riders/v002/release.json").read_text()
    assert '"of ${oc.env:DM_TEST_MAKER}, again"' in manifest
    assert '"no ${oc.env:DM_TEST_PROMPT}"' in manifest
    assert "${oc.env:DM_TEST_PHRASE}" in (root / "releases/riders/v002/annotations/instances_train.json").read_text()
    assert "${oc.env:DM_TEST_FOLDER}" in say("status", "--project", "riders", "--root", root)
    for command in (
        ["videos", "--json"],
        ["releases", "riders", "--check"],
        ["calibrate", "riders"],
    ):
        say(*command, "--root", root)
    needles = list(VALUES.values())
    assert [needle for needle in needles if needle in printed] == []
    left = {trace.path.relative_to(root) for trace in find_traces([root], needles)}
    # only the catalog and the tables that the next stage reads contain the values; Dagster's storage does not
    assert {path for path in left if path.suffix != ".parquet" or path.parts[0] != "projects"} == {
        Path("catalog.sqlite")
    }
    platform = Platform(PlatformConfig(), root)
    captions = [tile.caption for tile in kept_tiles(platform, platform.project_config("riders"), 4)]
    assert captions
    assert all(caption.endswith(" ${oc.env:DM_TEST_PROMPT}") for caption in captions)
