"""Messages about mistakes in options and arguments."""

import io
import sys
from pathlib import Path

import pytest

from data_miner_dagster.cli.main import EXIT_FAILED, EXIT_MISUSE, main
from data_miner_dagster_tests.support.sample_project import build_project


def errors_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["data-miner", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_MISUSE
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["status", "--typo"], "no such option: --typo; see `data-miner status --help`"),
        (["runn"], "no such command 'runn'. Did you mean 'run', 'prune'?; see `data-miner --help`"),
        (["select", "--count", "5"], "missing argument 'project'; see `data-miner select --help`"),
        (["run", "--root"], "option '--root' requires an argument; see `data-miner --help`"),
        (
            ["select", "p", "--count", "many"],
            "`--count many` is wrong: it should be a valid integer; see `data-miner select --help`",
        ),
        (
            ["select", "p", "--count", "5", "--balance", "clas"],
            "invalid value for '--balance': 'clas' is not one of 'class'; see `data-miner select --help`",
        ),
        (
            ["pause", "bikes"],
            "`bikes` is not expected here; use `--project bikes`, or `data-miner hold bikes` for single "
            "videos; see `data-miner pause --help`",
        ),
        (
            ["pause", "files-aaa", "files-bbb"],
            "`files-aaa files-bbb` is not expected here; use `data-miner hold files-aaa files-bbb` for single "
            "videos; see `data-miner pause --help`",
        ),
        (
            ["status", "bikes"],
            "`bikes` is not expected here; use `--project bikes`; see `data-miner status --help`",
        ),
        (["models", "list", "all", "of"], "`all of` is not expected here; see `data-miner models list --help`"),
        (
            ["try", "detect", "pictures", "--threshold", "3"],
            "`--threshold 3` is wrong: it should be less than or equal to 1; see `data-miner try detect --help`",
        ),
    ],
)
def test_misuse_line__is_one_line_with_the_value_and_the_remedy(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors_of(arguments, monkeypatch, capsys) == f"error: {line}\n"


def test_misuse_line__is_empty_where_the_help_was_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors_of(["models"], monkeypatch, capsys) == ""


def test_main__a_question_without_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_project(tmp_path, through="sourcing")
    monkeypatch.setattr(sys, "argv", ["data-miner", "--root", str(tmp_path), "delete-project", "cyclists"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_FAILED
    assert capsys.readouterr().err.endswith("error: the command was not confirmed; answer `y`, or use --yes\n")
