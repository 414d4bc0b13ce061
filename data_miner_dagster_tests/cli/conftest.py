"""The command line as a person uses it: arguments in, text and an exit status out."""

import os
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from data_miner_dagster.cli.main import app

RunCommand = Callable[..., Result]


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Options become environment variables: give each test its own."""
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
    """Run `data-miner` with these arguments; errors of this package are raised."""

    def run(*arguments: object, answer: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer, catch_exceptions=False)

    return run
