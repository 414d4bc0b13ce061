"""The command line as a person uses it: arguments in, text and an exit status out."""

import os
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from data_miner_dagster.cli.main import app

RunCommand = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def _commands_built_once() -> Iterator[None]:
    """Build the command tree once per process, as for a user, rather than again for each command of a test."""
    built_once = cache(get_command)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("typer.main.get_command", built_once)
        patched.setattr("typer.testing._get_command", built_once)
        yield


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Give each test its own environment, because options become environment variables."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("DATA_MINER_") and name != "DATA_MINER_MODEL_CACHE":
            del os.environ[name]
    os.environ.pop("DAGSTER_HOME", None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run_command() -> RunCommand:
    """Return a function that runs `data-miner` with its arguments and lets exceptions through."""

    def run(*arguments: object, answer: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer, catch_exceptions=False)

    return run
