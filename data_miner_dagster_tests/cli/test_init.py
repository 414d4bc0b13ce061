"""`data-miner init` writes a valid project file that contains the given options."""

import os
import subprocess
from pathlib import Path

import pytest

from data_miner_dagster.cli.interrupts import EXIT_INTERRUPTED
from data_miner_dagster.config.loading import load_project_file
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.end_to_end.commands import command, environment


def test_init__by_options_for_a_folder_a_search_and_a_url(run_command: RunCommand, tmp_path: Path) -> None:
    file = tmp_path / "my clips.yaml"
    sources = ("--folder", tmp_path, "--search", 'rush "hour": #1', "--url", "https://example.org/watch?v=1")
    result = run_command("init", file, *sources, "--class", "bicycle", "--class", "animal", "--profile", "lite")
    assert result.exit_code == 0
    project = load_project_file(file)
    assert project.name == "my-clips"
    assert [source.type for source in project.sourcing.sources] == ["files", "search", "urls"]
    keys = ("paths", "queries", "urls")
    given = [source.model_dump()[key] for source, key in zip(project.sourcing.sources, keys, strict=True)]
    assert given == [(str(tmp_path),), ('rush "hour": #1',), ("https://example.org/watch?v=1",)]
    assert [prompt.text for prompt in project.filtering.positive] == ["a bicycle", "an animal"]
    assert list(project.detection.classes) == ["bicycle", "animal"]
    assert result.stdout.splitlines()[-2:] == [
        f"next: run `data-miner config check '{file}' --profile lite`",
        f"then: run `data-miner run --config '{file}' --root ~/mined --profile lite`",
    ]
    assert f"warning: sourcing.sources.0.paths: {tmp_path}: no video was found there" in result.stderr


def test_init__repeats_the_root_that_was_given(run_command: RunCommand, tmp_path: Path) -> None:
    file, root = tmp_path / "p.yaml", tmp_path / "root"
    told = run_command("--root", root, "init", file, "--folder", tmp_path, "--class", "bus").stdout
    assert f"`data-miner run --config {file} --root {root} --profile lite`" in told
    assert "~/mined" not in told


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("https://example.org/a.mp4", "urls"), ("/no/such/folder", "files"), ("city traffic", "search")],
)
def test_init__asks_for_what_no_option_says(run_command: RunCommand, tmp_path: Path, answer: str, kind: str) -> None:
    file = tmp_path / "p.yaml"
    assert run_command("init", file, answer=f"{answer}\nbicycle, person\n").exit_code == 0
    project = load_project_file(file)
    assert [source.type for source in project.sourcing.sources] == [kind]
    assert list(project.detection.classes) == ["bicycle", "person"]


def test_init__writes_over_nothing_and_leaves_nothing_that_would_be_refused(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "p.yaml"
    with pytest.raises(ConfigError, match="--folder PATH, --search WORDS or --url ADDRESS"):
        run_command("init", file)  # no answers are given
    with pytest.raises(ConfigError, match="add an option such as --class bicycle"):
        run_command("init", file, "--folder", tmp_path)
    with pytest.raises(ConfigError, match="name"):
        run_command("init", file, "--folder", tmp_path, "--class", "bus", "--name", "../x")
    assert not file.exists()
    with pytest.raises(ConfigError, match="cannot be written"):
        run_command("init", tmp_path / "no" / "p.yaml", "--folder", tmp_path, "--class", "bus")
    file.write_text("mine")
    with pytest.raises(ConfigError, match="already exists"):
        run_command("init", file, "--folder", tmp_path, "--class", "bus")
    assert file.read_text() == "mine"


def test_init__left_at_a_question(tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    try:
        os.write(ours, b"\x04")  # Ctrl-D
        ended = subprocess.run(
            command("init", tmp_path / "p.yaml"),
            env=environment(),
            stdin=terminal,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(terminal)
    assert (ended.returncode, list(tmp_path.iterdir())) == (EXIT_INTERRUPTED, [])
    assert "not confirmed" not in ended.stderr
