"""Test that the wheel has every file that the package opens, and nothing that belongs only in a checkout."""

import ast
import re
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "data_miner_dagster"
DEFAULTS = "data_miner_dagster/defaults"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(REPOSITORY)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(built) as opened:
        yield opened


def test_wheel__has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {path.relative_to(REPOSITORY).as_posix() for path in files}
    assert {Path(name).suffix for name in wanted} > {".py", ".j2", ".js", ".css", ".svg", ".mako", ".json", ".txt"}
    assert "data_miner_dagster/py.typed" in wanted
    assert wanted - set(wheel.namelist()) == set()


def test_wheel__has_nothing_else_but_its_defaults_and_metadata(wheel: zipfile.ZipFile) -> None:
    others = {name for name in wheel.namelist() if not (REPOSITORY / name).is_file() and ".dist-info/" not in name}
    assert {name for name in others if not name.startswith(f"{DEFAULTS}/")} == set()
    folders = {name.partition("/")[0] for name in wheel.namelist()}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"data_miner_dagster"}


def test_wheel__has_every_file_of_a_checkout_that_a_command_reads(wheel: zipfile.ZipFile) -> None:
    named = {name for path in PACKAGE.rglob("*.py") for name in deployment_files(path.read_text(encoding="utf-8"))}
    assert {"workspace.yaml", "examples/demo.yaml", "dagster.yaml"} <= named
    for name in named:
        assert wheel.read(f"{DEFAULTS}/{name}") == (REPOSITORY / name).read_bytes()


def test_wheel__says_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    folder = metadata.rpartition("/")[0]
    headers = message_from_string(wheel.read(metadata).decode())
    assert headers["License-Expression"] == "Apache-2.0"
    assert wheel.read(f"{folder}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()
    assert "data-miner = data_miner_dagster.__main__:run_process" in wheel.read(f"{folder}/entry_points.txt").decode()


def deployment_files(source: str) -> Iterator[str]:
    """Yield the names that a module passes to `deployment_file`, as literals or as constants in deployment.py."""
    constants = dict(re.findall(r'(?m)^(\w+): Final = "([^"]+)"$', (PACKAGE / "deployment.py").read_text("utf-8")))
    if "deployment_file(" not in source:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "deployment_file":
            (argument,) = node.args
            yield constants[argument.id] if isinstance(argument, ast.Name) else ast.literal_eval(argument)
