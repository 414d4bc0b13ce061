"""Suggested commands work as printed, because they repeat the given options."""

from pathlib import Path

import pytest
import typer

from data_miner_dagster.cli.main import app
from data_miner_dagster.cli.suggestions import remember_options, with_given_options
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand

GIVEN = {"root": Path("my videos"), "config": Path("p.yaml"), "profile": "lite"}
ROOT, ALL = "--root 'my videos'", "--root 'my videos' --config p.yaml --profile lite"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # commands with all three options, without a profile, and with the project file as --config
        ("run `data-miner calibrate p --restart`", f"run `data-miner calibrate p --restart {ALL}`"),
        ("run `data-miner resume`", f"run `data-miner resume {ROOT} --config p.yaml`"),
        ("run `data-miner run --config FILE`", f"run `data-miner run --config FILE {ROOT} --profile lite`"),
        ("run `data-miner run`", f"run `data-miner run {ROOT} --profile lite`"),
        ("run `data-miner config schema`", "run `data-miner config schema`"),
        # a command of a group, and the command that a group runs if it is given a project
        ("run `data-miner review list p`", f"run `data-miner review list p {ALL}`"),
        ("run `data-miner review p`, or wait", f"run `data-miner review p {ALL}`, or wait"),
        # options that are already there, and text that only names a command
        ("run `data-miner status --root x`", "run `data-miner status --root x --config p.yaml`"),
        ("a running `data-miner up` does this", "a running `data-miner up` does this"),
        (
            "`data-miner retry --kind live` retries it",
            f"`data-miner retry --kind live {ROOT} --config p.yaml` retries it",
        ),
        (
            "`data-miner up` or `data-miner run --config FILE` continues the build",
            f"`data-miner up {ALL}` or `data-miner run --config FILE {ROOT} --profile lite` continues the build",
        ),
        ("see `data-miner status --help`", "see `data-miner status --help`"),
        ("run `data-miner nothing`", "run `data-miner nothing`"),
        ("run `data-miner`", "run `data-miner`"),
    ],
)
def test_with_given_options(message: str, expected: str) -> None:
    remember_options(GIVEN, typer.main.get_command(app))
    assert with_given_options(message) == expected


def test_with_given_options__of_none(run_command: RunCommand) -> None:
    run_command("config", "schema")
    assert with_given_options("run `data-miner resume`") == "run `data-miner resume`"


def test_with_given_options__after_an_error_and_from_before_the_command(
    run_command: RunCommand, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        run_command("--root", tmp_path, "projects")
    # the program prints the error after the command has ended
    assert with_given_options(str(error.value)).endswith(f"`data-miner populate --config FILE --root {tmp_path}`")
