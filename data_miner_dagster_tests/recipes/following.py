"""Follow a recipe in a copy of the package, and run the result."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
PACKAGE: Final = "data_miner_dagster"


def copy_of_package(copy: Path, new_files: Mapping[str, str], changes: Mapping[str, Mapping[str, str]]) -> Path:
    """Copy the package and its import contracts, add new files, and replace texts that must occur exactly once."""
    shutil.copytree(REPOSITORY / PACKAGE, copy / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "setup.cfg", copy)
    for name, text in new_files.items():
        path = copy / PACKAGE / name
        path.parent.mkdir(exist_ok=True)
        assert not path.exists()
        path.write_text(text.lstrip())
    for name, replacements in changes.items():
        path = copy / PACKAGE / name
        text = path.read_text()
        for old, new in replacements.items():
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        path.write_text(text)
    return copy


def run(command: list[str], copy: Path) -> str:
    """Run a command with a copy of the package, and return its output."""
    environment = {**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{REPOSITORY}"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def follow(folder: Path, new_files: Mapping[str, str], changes: Mapping[str, Mapping[str, str]], used: str) -> None:
    """Change a copy of the package as a recipe says, and run a script that uses the addition."""
    use(copy_of_package(folder / "copy", new_files, changes), used)


def use(copy: Path, used: str) -> None:
    """Run a script that imports a copy of the package. There, `tmp_path` is the folder that contains the copy."""
    script = copy.parent / "used.py"
    script.write_text(_BEGINNING.format(tmp_path=os.fspath(copy.parent), copy=os.fspath(copy)) + used)
    run([sys.executable, os.fspath(script)], copy)


_BEGINNING: Final = """
from pathlib import Path

import data_miner_dagster

tmp_path = Path({tmp_path!r})
assert Path(data_miner_dagster.__file__).is_relative_to({copy!r})
"""


def recipe(title: str) -> str:
    """Return a section of CONTRIBUTING.md."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def unnamed_files(title: str, files: Iterable[str]) -> list[str]:
    """Return the changed files that a section of CONTRIBUTING.md does not name."""
    text = recipe(title)
    return [name for name in files if f"`{name}`" not in text]
