import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import data_miner_dagster
from data_miner_dagster.cli.main import app
from data_miner_dagster_tests.support.sample_project import build_project

REPOSITORY = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "ultralytics", "dagster", "faiss", "av", "yt_dlp"}


def data_miner(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DATA_MINER_")}
    return subprocess.run(
        [sys.executable, "-m", "data_miner_dagster", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=REPOSITORY,
        env={**clean, **environment},
    )


def modules_after(*commands: Sequence[object]) -> set[str]:
    """Return the top-level packages that a process has imported after running these commands."""
    script = (
        "import json, sys\nfrom data_miner_dagster.cli.main import app\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    try:\n        app(command)\n"
        "    except SystemExit as end:\n        assert end.code in (0, None), end.code\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, json.dumps([[*map(str, words)] for words in commands])],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=REPOSITORY,
    )
    return {name.partition(".")[0] for name in json.loads(result.stderr.splitlines()[-1])}


def test_app__no_arguments_shows_help() -> None:
    result = data_miner()
    assert "--help" in result.stdout + result.stderr


def test_app__help_imports_neither_dagster_nor_a_model_nor_a_database() -> None:
    assert modules_after(["--help"]) & (HEAVY | {"sqlalchemy", "alembic", "pyarrow"}) == set()


def test_app__status_imports_neither_dagster_nor_a_model(tmp_path: Path) -> None:
    build_project(tmp_path, through="sourcing")
    commands = (["status"], ["videos", "--failed"], ["projects", "--json"], ["status", "--project", "cyclists"])
    assert modules_after(*(["--root", tmp_path, *command] for command in commands)) & HEAVY == set()


def test_app__names_of_the_original_commands_all_work() -> None:
    names = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}  # type: ignore[union-attr]
    assert names >= {
        "init-db",
        "populate",
        "add-video",
        "status",
        "delete-project",
        "delete-videos",
        "cleanup-orphans",
        "force-dedup",
        "force-detect",
        "retry",
        "doctor",
        "projects",
        "videos",
        "forget",
        "run",
        "up",
        "demo",
    }


def test_main__wrong_file_is_one_line_and_status_2(tmp_path: Path) -> None:
    result = data_miner("populate", "--config", tmp_path / "nowhere.yaml", "--root", tmp_path / "root")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {tmp_path / 'nowhere.yaml'} does not exist")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "root").exists()


def test_main__failure_is_one_line_and_status_1(tmp_path: Path) -> None:
    result = data_miner(
        "init-db",
        "--root",
        tmp_path,
        DATA_MINER_CATALOG_URL="postgresql+psycopg2://miner:hunter2@127.0.0.1:1/catalog",
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.stderr


def test_main__debug_gives_the_traceback(tmp_path: Path) -> None:
    result = data_miner("status", "--root", tmp_path, DATA_MINER_DEBUG="1")
    assert "Traceback" in result.stderr
    assert " contains no catalog; give the right root" in result.stderr


@pytest.mark.parametrize("before_the_command", [True, False])
def test_common__root_before_or_after_the_command(tmp_path: Path, before_the_command: bool) -> None:
    build_project(tmp_path, through="sourcing")
    options = ["--root", str(tmp_path)]
    result = data_miner(*options, "projects") if before_the_command else data_miner("projects", *options)
    assert result.returncode == 0, result.stderr
    assert "cyclists" in result.stdout


def test_version() -> None:
    assert data_miner("--version").stdout == f"data-miner {data_miner_dagster.__version__}\n"


def test_profile__another_one_is_one_line(tmp_path: Path) -> None:
    for result in (
        data_miner("models", "list", "--root", tmp_path, "--profile", "lyte"),
        data_miner("models", "list", "--root", tmp_path, DATA_MINER_PROFILE="lyte"),
    ):
        assert result.returncode == 2
        assert result.stderr == "error: profile 'lyte' does not exist; use one of lite, standard; did you mean lite?\n"


def test_completion__names_of_projects(tmp_path: Path) -> None:
    build_project(tmp_path / "root", name="street", through="sourcing")
    script = Path(sys.executable).with_name("data-miner")
    root = tmp_path / "root"
    for words in (f"data-miner releases --root {root} st", f"data-miner --root {root} review st"):
        variables = {"_DATA_MINER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "4"}
        completed = subprocess.run(
            [str(script)], capture_output=True, text=True, check=True, timeout=300, env={**os.environ, **variables}
        )
        assert completed.stdout.split() == ["street"]
