"""Following a recipe in a copy of the package, and running what came of it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
PACKAGE: Final = "data_miner_dagster"


def copy_of_package(copy: Path, new_files: Mapping[str, str], changes: Mapping[str, Mapping[str, str]]) -> Path:
    """Make a copy of the package and its contracts, with new files, and with texts replaced that occur once."""
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
    """Return what a command prints that uses a copy of the package."""
    environment = {**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{REPOSITORY}"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def recipe(title: str) -> str:
    """Return a section of CONTRIBUTING.md."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]
