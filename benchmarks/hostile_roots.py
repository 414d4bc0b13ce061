"""Run `status`, `doctor`, `up` (until its servers start) and `run` on damaged roots, and check each command's result.

    python -m benchmarks.hostile_roots [--json] [--quick] [--roots 100] [--seed 1]

A small real project is run once. Every root is a copy of its result, with one to three files damaged: emptied, cut in
half, given flipped bits, or replaced by noise. Each command runs in a process of its own with a time limit. The correct
result is success, or one line that names a damaged file. A fault is a crash (a signal), a hang, a traceback, more than
one line of error, a line that names none of the files, or a `run` that succeeds without a release or with one that
differs from the undamaged root's (a silent loss). All counts must be 0.
"""

import atexit
import contextlib
import io
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from PIL import Image

from benchmarks.drawn import run_drawn

COMMANDS: Final = ("status", "doctor", "up", "run")
DAMAGES: Final = ("emptied", "cut", "flipped", "noise")
PATTERNS: Final = (
    "catalog.sqlite",
    "platform.json",
    "dagster_home/dagster.yaml",
    "dagster_home/history/runs.db",
    "dagster_home/history/runs/index.db",
    "dagster_home/schedules/schedules.db",
    "videos/*/info.json",
    "frames/*/frames.parquet",
    "embeddings/*/*.npz",
    "embeddings/*/prompts/*.npz",
    "projects/*/*.parquet",
    "projects/*/representatives.npz",
    "projects/*/file_hashes.json",
    "projects/*/detection_parts/*/*.parquet",
    "releases/*/*/release.json",
    "releases/*/*/SHA256SUMS",
    "releases/*/*/data/*.parquet",
    "reports/*/index.html",
    "reports/*/release.txt",
)
FAULTS: Final = ("crash", "hang", "traceback", "no line", "another line", "status", "silent loss")
TIME_LIMIT: Final = 120.0
NAME: Final = "demo"


@dataclass(frozen=True, slots=True)
class Damage:
    """A kind of damage to one file of a root. `path` is relative to the root."""

    path: str
    kind: str
    seed: int

    def apply(self, root: Path) -> None:
        """Damage the file."""
        path = root / self.path
        content = bytearray(path.read_bytes())
        rng = random.Random(self.seed)
        if self.kind == "emptied":
            content = bytearray()
        elif self.kind == "cut":
            content = content[: len(content) // 2]
        elif self.kind == "noise":
            content = bytearray(rng.randbytes(max(64, len(content))))
        else:
            for _ in range(1 + len(content) // 200):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(content))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one command on one root. `fault` is empty if it was correct."""

    command: str
    status: int | None
    said: str
    fault: str


def make_root(folder: Path) -> tuple[Path, Path]:
    """Run a project of nine pictures in three folders. Return its root and its project file."""
    for number in range(3):
        (folder / f"pictures/{number}").mkdir(parents=True)
        for index in range(3):
            blocks = np.random.default_rng(10 * number + index).integers(0, 255, (6, 8, 3), np.uint8)
            picture = np.kron(blocks, np.ones((20, 20, 1), np.uint8))
            Image.fromarray(picture).save(folder / f"pictures/{number}/{index}.png")
    content = {
        "name": NAME,
        "sourcing": {"sources": [{"type": "frames", "folders": [str(folder / "pictures/*")]}]},
        "filtering": {"positive": ["a picture"], "positive_threshold": -1, "drop_quality_flags": []},
        "deduplication": {"perceptual_hash_minimum_contrast": 256, "threshold": 0.9999},
        "detection": {"classes": {"person": []}},
        "platform": {"models": {"profile": "lite"}},
    }
    config = folder / "project.yaml"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    outcome = run_commands(folder / "sound", config, ("run",))[0]
    if outcome.status != 0:
        raise RuntimeError(f"the undamaged root could not be created: {outcome.said}")
    return folder / "sound", config


def draw_damages(root: Path, number: int, rng: random.Random) -> list[list[Damage]]:
    """Return `number` lists of one to three damages. Each kind of file is damaged in turn."""
    drawn = []
    for turn in range(number):
        some = []
        for extra in range(rng.choice((1, 1, 1, 2, 3))):
            pattern = PATTERNS[turn % len(PATTERNS)] if extra == 0 else rng.choice(PATTERNS)
            path = rng.choice(sorted(root.glob(pattern)))
            some.append(Damage(path.relative_to(root).as_posix(), rng.choice(DAMAGES), rng.randrange(1 << 30)))
        drawn.append(some)
    return drawn


def run_commands(root: Path, config: Path, commands: Sequence[str] = COMMANDS) -> list[Outcome]:
    """Run commands on one root, each in a process forked from one that has imported the package."""
    # The fork server only imports modules and starts nothing, so its forks are complete.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data_miner_dagster.cli.main", "data_miner_dagster.cli.in_process"])
    outcomes = []
    for command in commands:
        with tempfile.TemporaryDirectory() as folder:
            said = Path(folder) / "said.json"
            child = context.Process(target=_command, args=(command, root, config, said))
            child.start()
            child.join(TIME_LIMIT)
            is_hanging = child.is_alive()
            child.kill()
            child.join()
            content = json.loads(said.read_text(encoding="utf-8")) if said.exists() else {}
        outcomes.append(_outcome(command, content, is_hanging=is_hanging, exit_code=child.exitcode))
    return outcomes


def _command(command: str, root: Path, config: Path, said: Path) -> None:
    from data_miner_dagster.cli import main

    os.setsid()
    for name in [name for name in os.environ if name.startswith(("DATA_MINER_", "DAGSTER_"))]:
        del os.environ[name]
    sys.argv = ["data-miner", command, "--root", str(root)]
    if command == "run":
        sys.argv += ["--config", str(config)]
    output, errors = io.StringIO(), io.StringIO()
    status: int | None = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            if command == "up":
                _prepare_up(root)
            else:
                main.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        except BaseException:  # noqa: BLE001 - to be told apart from a line
            status = None
            traceback.print_exc(file=errors)
    # as at the end of the command's own process: a child of multiprocessing exits without these functions
    atexit._run_exitfuncs()  # noqa: SLF001 - nothing public runs them
    content = {"status": status, "output": output.getvalue(), "errors": errors.getvalue()}
    said.write_text(json.dumps(content), encoding="utf-8")


def _prepare_up(root: Path) -> None:
    """Prepare a root as `data-miner up` does before its servers start, and exit with its status."""
    from data_miner_dagster.cli.main import app, main
    from data_miner_dagster.deployment import open_instance
    from data_miner_dagster.operations.opening import open_platform

    @app.command(hidden=True)
    def prepare_up() -> None:
        with open_instance(open_platform()):
            pass

    sys.argv = ["data-miner", "--root", str(root), "prepare-up"]
    main()


def _outcome(command: str, content: dict[str, Any], *, is_hanging: bool, exit_code: int | None) -> Outcome:
    errors = str(content.get("errors", ""))
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    said = (lines[-1] if lines else " | ".join(errors.splitlines()[-3:]))[:400]
    status = content.get("status")
    fault = ""
    if is_hanging:
        fault = "hang"
    elif not content:
        fault, said = "crash", f"exit {exit_code}"
    elif "Traceback (most recent call last)" in errors or status is None:
        fault = "traceback"
    elif status not in (0, 1, 2):
        fault = "status"
    elif status and command != "doctor" and len(lines) != 1:
        fault = "no line"
    return Outcome(command, status, said, fault)


def content_of(root: Path) -> dict[str, Any]:
    """Return the content of a finished root, for comparing a repaired root with an undamaged one."""
    import pyarrow.parquet as pq

    releases = root / "releases" / NAME
    versions = sorted(path.name for path in releases.iterdir() if (path / "release.json").is_file())
    manifest = json.loads((releases / versions[-1] / "release.json").read_text(encoding="utf-8"))
    tables = ("filtered", "deduplicated", "detected_frames", "detections")
    return {
        "images": sorted(path.name for path in (releases / versions[-1] / "images").rglob("*.png")),
        "splits": manifest["splits"],
        "tables": {name: pq.read_table(root / "projects" / NAME / f"{name}.parquet").to_pylist() for name in tables},
        "report": (root / "reports" / NAME / "index.html").stat().st_size > 0,
    }


def examine(sound: Path, config: Path, damages: Sequence[Damage], copy: Path) -> Iterator[Outcome]:
    """Damage a copy of a root and yield the result of each command."""
    shutil.copytree(sound, copy, symlinks=True)
    for damage in damages:
        damage.apply(copy)
    for outcome in run_commands(copy, config):
        fault = outcome.fault
        if outcome.command == "run" and outcome.status == 0 and not fault and content_of(copy) != content_of(sound):
            fault = "silent loss"
        is_named = any(Path(damage.path).name in outcome.said for damage in damages)
        if outcome.status and outcome.command != "doctor" and not fault and not is_named:
            fault = "another line"
        yield Outcome(outcome.command, outcome.status, outcome.said, fault)
    shutil.rmtree(copy)


def measure(num_roots: int, seed: int) -> dict[str, Any]:
    """Return the figures: the number of commands, their outcomes, and faults by kind and by name."""
    started = time.monotonic()
    faults: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    named = []
    with tempfile.TemporaryDirectory() as folder:
        sound, config = make_root(Path(folder))
        for number, damages in enumerate(draw_damages(sound, num_roots, random.Random(seed))):
            for outcome in examine(sound, config, damages, Path(folder) / f"copy{number}"):
                ended[f"{outcome.command}: status {outcome.status}"] += 1
                if outcome.fault:
                    faults[outcome.fault] += 1
                    what = ", ".join(f"{damage.path} {damage.kind}" for damage in damages)
                    named.append(f"{outcome.command}: {outcome.fault}: {what}: {outcome.said}")
                    print(named[-1], file=sys.stderr, flush=True)
    return {
        "roots": num_roots,
        "seed": seed,
        **{f"faults: {kind}": faults[kind] for kind in FAULTS},
        **dict(sorted(ended.items())),
        "seconds": round(time.monotonic() - started),
        "faults": named,
    }


def main() -> int:
    """Print the figures. The exit status is 1 if there is any fault."""
    return run_drawn(__doc__, "roots", 100, measure)


if __name__ == "__main__":
    sys.exit(main())
