"""A terminal receives the text, but no control sequence that it would act on."""

import io
import json
import logging
import re
import sys
from pathlib import Path

import pytest

from data_miner_dagster.cli import output
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.progress import console, progress_lines
from data_miner_dagster.config.settings import LoggingConfig
from data_miner_dagster.operations.logs import set_up_logging

TITLE = "x\x1b]52;c;ZXZpbA==\x1b\\ \x1b[31mRED \x9b31m \u202eflip \x07 [bold]b[/bold]"
SHOWN = r"x\u001b]52;c;ZXZpbA==\u001b\ \u001b[31mRED \u009b31m \u202eflip \u0007 [bold]b[/bold]"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_print_table__on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    print_table(["title"], [[TITLE]])
    assert SHOWN in terminal.getvalue()
    assert not {"\x9b", "\u202e", "\x07"} & set(terminal.getvalue())


def test_progress_lines__on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(console, "file", terminal)
    with progress_lines(LoggingConfig()):
        logging.getLogger("data_miner_dagster.x").warning("site said %s", TITLE)
    assert SHOWN in terminal.getvalue()


def test_progress_lines__says_each_line_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("data_miner_dagster")
    monkeypatch.setattr(logger, "handlers", [])
    set_up_logging(LoggingConfig(level="WARNING"))  # as each command that opens a root does
    with progress_lines(LoggingConfig(), on_stderr=True):
        logging.getLogger("data_miner_dagster.x").info("half of it")
    logging.getLogger("data_miner_dagster.x").warning("after it")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "half of it\nWARNING data_miner_dagster.x: after it\n")


def test_echo_and_print_json(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"one\ntwo {TITLE}")
    assert capsys.readouterr().out == f"one\ntwo {SHOWN}\n"
    print_json([TITLE])
    printed = capsys.readouterr().out
    assert not {"\x9b", "\u202e", "\x1b"} & set(printed)
    assert json.loads(printed) == [TITLE]


def test_output__is_the_only_way_to_the_terminal() -> None:
    folder = Path(output.__file__).parent
    direct = re.compile(r"(?<![\w.])(?:print|Console)\(|typer\.(?:echo|secho)\(")
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(folder.glob("*.py"))
        if path.name != "output.py"
        for line in path.read_text().splitlines()
        if direct.search(line)
    ]
    assert found == []
