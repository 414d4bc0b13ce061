"""Commands on a file system that is really mounted read-only, in a mount namespace of their own."""

import subprocess
import sys
from pathlib import Path
from shlex import join

import pytest
import yaml

from data_miner_dagster.domain.unwritable import OTHER_ROOT
from data_miner_dagster_tests.support.sample_project import build_project

READ_ONLY = f"is on a read-only file system; mount it writable, or {OTHER_ROOT}"
WRITE = """
import pathlib, sys
from data_miner_dagster.domain.unwritable import unwritable_behind
try:
    pathlib.Path(sys.argv[1]).write_text("")
except OSError as error:
    print(unwritable_behind(error))
"""


def in_namespace(script: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell script in a mount namespace of its own."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-euc", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def data_miner(*arguments: object) -> str:
    """Return a shell command that runs `data-miner` and prints its output and exit status."""
    command = join([sys.executable, "-m", "data_miner_dagster", *map(str, arguments)])
    return f"if {command} 2>&1; then echo status 0; else echo status $?; fi"


@pytest.fixture(autouse=True)
def _needs_namespaces() -> None:
    if in_namespace("true").returncode:
        pytest.skip("this machine does not permit mount namespaces")


def test_commands__a_new_root_on_a_read_only_file_system(tmp_path: Path) -> None:
    project = {
        "name": "p",
        "sourcing": {"sources": [{"type": "files", "paths": [str(tmp_path)]}]},
        "filtering": {"positive": ["a car"]},
        "detection": {"classes": {"car": []}},
    }
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(project))
    root = tmp_path / "mount" / "root"
    root.parent.mkdir()
    of_root = ["--root", root]
    of_project = ["--config", tmp_path / "p.yaml", "--profile", "lite"]
    commands = [
        data_miner("init-db", *of_root),
        data_miner("populate", *of_project, *of_root),
        join([sys.executable, "-c", WRITE, str(root.parent / "new.txt")]),
    ]
    done = in_namespace(f"mount -t tmpfs -o ro none {join([str(root.parent)])}; {'; '.join(commands)}")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    refused = f"error: the root {root} {READ_ONLY}"
    other = f"{root.parent / 'new.txt'} is on a read-only file system; mount it writable, or choose another path"
    assert lines == [refused, "status 2", refused, "status 2", other]


def test_commands__an_existing_root_on_a_read_only_file_system(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root", through="sourcing")
    platform.database.dispose()
    root = join([str(platform.root)])
    commands = [data_miner(name, "--root", platform.root) for name in ("status", "retry")]
    done = in_namespace(f"mount --bind {root} {root}; mount -o remount,bind,ro {root}; {'; '.join(commands)}")
    assert done.stderr == ""
    catalog = platform.layout.catalog_file
    refused = f"error: the catalog {catalog} cannot be opened, because its folder {platform.root} {READ_ONLY}"
    refused += " (or, if a catalog URL is set, another URL)"
    assert done.stdout.splitlines() == [refused, "status 1", refused, "status 1"]
