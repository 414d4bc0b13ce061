"""Read malicious project files as `config check`, `run` and the watched folder do.

    python -m benchmarks.hostile_yaml [--json] [--quick] [--files 200] [--seed 1]

Half are written by hand: endless nesting, aliases, interpolations or numbers, tags, encodings, pipes, devices, words
with special meanings in YAML. Half are a valid file with a few random edits. Each is read in a process of its own with
limits of time and memory, and then all are put into one watched folder beside valid files. A fault is a crash (a
signal), a hang, a traceback, more than one line, an environment variable's value in a line, or a valid file that is not
registered (a silent loss). All counts must be 0.
"""

import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.drawn import run_drawn
from data_miner_dagster.catalog.projects import find_projects

FAULTS: Final = ("crash", "hang", "traceback", "many lines", "secret", "silent loss")
TIME_LIMIT: Final = 20.0
MEMORY_BYTES: Final = 4 << 30
SECRET: Final = "hf_SUPERSECRET1234"
_VARIABLE: Final = "HOSTILE_YAML_SECRET"
SOUND: Final = """\
name: demo
description: bicycles in the street
sourcing:
  sources:
    - {type: urls, urls: ["http://127.0.0.1:9/bikes.mp4"]}
  rules: {published_after: 2024-01-31}
filtering:
  positive: [a bicycle]
  positive_threshold: 0.3
detection:
  classes: {bicycle: []}
releasing:
  splits: {train: 0.8, val: 0.1, test: 0.1}
"""
_TOKENS: Final = (
    *("~", "[]", "{}", "- ", ": ", "&a ", "*a", "!!int ", "${", "}", "'", '"', "|", ">", "%", "@", "`", "\t", "\n"),
    *("#", "?", "0x1F", "1_000", "1:2:3", ".inf", "yes", "on", "2020-01-01", "${filtering}", "../", "\u2028", "<<: "),
    *("---\n", "...\n", "null", "1e999", "-0", "\U0001f600", "${oc.env:HOSTILE_YAML_SECRET}"),
)


@dataclass(frozen=True, slots=True)
class Hostile:
    """One malicious entry of a folder: a file with its bytes, or another kind of entry."""

    name: str
    content: bytes | None
    kind: str = "file"  # or "pipe", "device", "folder"

    def place(self, folder: Path) -> Path:
        """Write the file, or create the other kind of entry, in a folder. Return its path."""
        path = folder / f"{self.name}.yaml"
        if self.kind == "pipe":
            os.mkfifo(path)
        elif self.kind == "device":
            path.symlink_to("/dev/zero")
        elif self.kind == "folder":
            path.mkdir()
        else:
            path.write_bytes(self.content or b"")
        return path


def _doubled(first: str, step: str, levels: int) -> str:
    return f"a0: {first}\n" + "".join(f"a{n}: {step.replace('N', str(n - 1))}\n" for n in range(1, levels))


def _endless() -> dict[str, str]:
    """Return texts with endless nesting, aliases or interpolations."""
    aliases = "a0: &a0 [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * 9) + "]\n" for n in range(1, 9)
    )
    return {
        "brackets": SOUND + "d: " + "[" * 100_000,
        "braces": SOUND + "d: " + "{a: " * 30_000,
        "dashes": SOUND + "d:\n" + "- " * 100_000,
        "closed": SOUND + "d: " + "[" * 5000 + "]" * 5000,
        "quotes": SOUND + "d: " + "'" * 300_001,
        "keys": SOUND + "".join(f"k{n}: {n}\n" for n in range(20_000)),
        "aliases": aliases + SOUND,
        "alias_in_itself": SOUND + "z: &z [*z]",
        "merge_of_itself": SOUND + "x: &x {<<: *x}",
        "merges": SOUND
        + "m0: &m0 {a: 1}\n"
        + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 40)),
        "text_doubled": SOUND + _doubled("x", "${aN}${aN}", 60),
        "maps_doubled": SOUND + _doubled("{x: 1}", "{l: '${aN}', r: '${aN}'}", 60),
        "lists_doubled": SOUND + _doubled("[1]", "['${aN}', '${aN}']", 60),
        "circle": SOUND.replace("name: demo", "name: ${description}").replace("bicycles in the street", "${name}"),
        "references": SOUND + "r: " + "${a" * 600 + "}" * 600,
        "references_open": SOUND + "r: '" + "${" * 50_000 + "'",
        "long_line": SOUND + "l: " + "a" * 3_000_000,
        "long_name": SOUND.replace("name: demo", "name: " + "a" * 300_000),
    }


def _of_other_meaning() -> dict[str, str]:
    """Return texts with keys or values that no project file may have, or that YAML interprets as something else."""
    return {
        "resolver": SOUND + "r: ${exec:ls}",
        "decode": SOUND + "r: ${oc.decode:'[1,2'}",
        "create": SOUND + "r: ${oc.create:{a:1}}",
        "secret_in_name": SOUND.replace("name: demo", "name: '!${oc.env:HOSTILE_YAML_SECRET}'"),
        "secret_in_class": SOUND.replace("{bicycle: []}", "{bicycle: ['${oc.env:HOSTILE_YAML_SECRET}', 7]}"),
        "secret_in_threshold": SOUND.replace("0.3", "${oc.env:HOSTILE_YAML_SECRET}"),
        "number": "12",
        "words": "hello",
        "nothing": "~",
        "empty": "",
        "list": "- a\n- b\n",
        "digits": SOUND.replace("0.3", "9" * 5000),
        "exponent": SOUND.replace("0.3", "1e400"),
        "infinite": SOUND.replace("0.3", ".inf"),
        "sexagesimal": SOUND.replace("0.3", "1:" * 5000 + "1"),
        "day": SOUND.replace("2024-01-31", "20240131"),
        "day_in_seconds": SOUND.replace("2024-01-31", "86400"),
        "no": SOUND.replace("[a bicycle]", "[no]"),
        "null_class": SOUND.replace("{bicycle: []}", "{null: []}"),
        "classes_meet": SOUND.replace("{bicycle: []}", "{'cat ': [], cat: []}"),
        "splits_meet": SOUND.replace("{train: 0.8, val: 0.1, test: 0.1}", "{train: 0.8, val: 0.1, valid: 0.1}"),
        "threshold_of_none": SOUND + "  class_thresholds: {dog: 0.5}\n",
        "python_tag": SOUND.replace("name: demo", "name: !!python/object/apply:os.system ['touch PWNED']"),
        "set_tag": SOUND.replace("bicycles in the street", "!!set {a, b}"),
        "binary_tag": SOUND.replace("name: demo", "name: !!binary aGVsbG8="),
        "escape": SOUND.replace("name: demo", 'name: "a\\e]0;x\\a"'),
        "surrogate": SOUND.replace("bicycles in the street", '"\\ud800"'),
        "twice": SOUND + "name: other\n",
        "two_documents": SOUND + "---\nname: x\n",
        "list_key": SOUND + "[1, 2]: 3\n",
        "map_key": SOUND + "? {a: b}\n: c\n",
        "path_name": SOUND.replace("name: demo", "name: ../../x"),
        "bad_port": SOUND.replace("127.0.0.1:9", "127.0.0.1:999999"),
        "file_address": SOUND.replace("http://127.0.0.1:9/bikes.mp4", "file:///etc/passwd"),
    }


def made_by_hand() -> list[Hostile]:
    """Return the files written by hand."""
    texts = _endless() | _of_other_meaning()
    bytes_of = {
        "nul": SOUND[:50].encode() + b"\0" + SOUND[50:].encode(),
        "latin_1": SOUND.replace("demo", "d\xe9mo").encode("latin-1"),
        "utf_16": SOUND.encode("utf-16"),
        "noise": random.Random(1).randbytes(3000),
        "zip": b"PK\x03\x04" + random.Random(2).randbytes(3000),
    }
    return [
        *(Hostile(name, text.encode("utf-8", "surrogatepass")) for name, text in texts.items()),
        *(Hostile(name, content) for name, content in bytes_of.items()),
        *(Hostile(kind, None, kind) for kind in ("pipe", "device", "folder")),
    ]


def mutated(number: int, rng: random.Random) -> list[Hostile]:
    """Return valid files with a few random edits."""
    lines = SOUND.splitlines(keepends=True)
    files = []
    for index in range(number):
        text = list(SOUND)
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(max(1, len(text)))
            edit = rng.randrange(5)
            if edit == 0:
                del text[place : place + rng.randrange(1, 30)]
            elif edit == 1:
                text[place:place] = list(rng.choice(_TOKENS))
            elif edit == 2:
                text[place : place + rng.randrange(1, 12)] = list(rng.choice(_TOKENS))
            elif edit == 3:
                changed = "".join(text).splitlines(keepends=True)
                changed.insert(rng.randrange(len(changed) + 1), rng.choice(lines))
                text = list("".join(changed))
            else:
                text[place : place + 1] = [chr(rng.randrange(1, 0xD800))]
        files.append(Hostile(f"mutant_{index:03}", "".join(text).encode()))
    return files


def read_alone(hostile: Hostile, folder: Path) -> tuple[str, str]:
    """Read one file in a process of its own. Return the fault, or "" if there is none, and the output."""
    path = hostile.place(folder)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data_miner_dagster.config.loading"])
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_read, args=(path, sender))
    child.start()
    sender.close()
    try:
        kind, said = receiver.recv() if receiver.poll(TIME_LIMIT) else ("hang", "")
    except EOFError:
        child.join()
        kind, said = "crash", f"exit {child.exitcode}"
    receiver.close()
    child.kill()
    child.join()
    if SECRET in said:
        kind = "secret"
    elif kind == "line" and "\n" in said:
        kind = "many lines"
    return (kind if kind in FAULTS else ""), said


def _read(path: Path, sender: Any) -> None:
    from data_miner_dagster.config.loading import load_project_file
    from data_miner_dagster.domain.errors import DataMinerError

    os.environ[_VARIABLE] = SECRET
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        load_project_file(path)
        sender.send(("valid", ""))
    except DataMinerError as error:
        sender.send(("line", str(error)))
    except BaseException:  # noqa: BLE001 - to be told apart from a line
        sender.send(("traceback", traceback.format_exc()[-300:]))


def read_together(files: list[Hostile], folder: Path) -> tuple[str, str]:
    """Read all files in a watched folder beside valid ones. Return the fault, or "" without one, and the output."""
    from data_miner_dagster.config.settings import PlatformConfig
    from data_miner_dagster.operations.platform import Platform
    from data_miner_dagster.sensors.project_files import register_project_files

    platform = Platform(PlatformConfig(), folder / "root")
    watched = platform.layout.project_files
    watched.mkdir(parents=True)
    for hostile in files:
        hostile.place(watched)
    for name in ("0_first", "m_middle", "zz_last"):
        (watched / f"{name}.yaml").write_text(SOUND.replace("demo", name), encoding="utf-8")
    os.environ[_VARIABLE] = SECRET
    refused = register_project_files(platform)
    del os.environ[_VARIABLE]
    known = {row.name for row in find_projects(platform.database)}
    platform.database.dispose()
    if missing := sorted({"0_first", "m_middle", "zz_last"} - known):
        return "silent loss", f"not registered: {', '.join(missing)}"
    if any(SECRET in line for line in refused):
        return "secret", next(line for line in refused if SECRET in line)
    if any("\n" in line for line in refused):
        return "many lines", next(line for line in refused if "\n" in line)
    return "", f"{len(refused)} of {len(files)} refused"


def draw_files(number: int, seed: int) -> list[Hostile]:
    """Return `number` files. Up to half of them are written by hand, and the others are mutants."""
    by_hand = made_by_hand()
    rng = random.Random(seed)
    if number < 2 * len(by_hand):
        by_hand = rng.sample(by_hand, number // 2)
    return [*by_hand, *mutated(number - len(by_hand), rng)]


def measure(number: int, seed: int) -> dict[str, Any]:
    """Return the figures: the number of files and of valid files, and faults by kind and by name."""
    started = time.monotonic()
    files = draw_files(number, seed)
    faults: Counter[str] = Counter()
    named = []
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "alone"
        alone.mkdir()
        results = {hostile.name: read_alone(hostile, alone) for hostile in files}
        results["watched folder"] = together = read_together(files, Path(folder))
    for name, (fault, said) in results.items():
        if fault:
            faults[fault] += 1
            named.append(f"{fault}: {name}: {said[:300]}")
    return {
        "files": len(files),
        "seed": seed,
        **{f"faults: {kind}": faults[kind] for kind in FAULTS},
        "valid": sum(1 for fault, said in results.values() if not fault and not said),
        "watched folder": together[1],
        "seconds": round(time.monotonic() - started),
        "faults": named,
    }


def main() -> int:
    """Print the figures. The exit status is 1 if there is any fault."""
    return run_drawn(__doc__, "files", 200, measure)


if __name__ == "__main__":
    sys.exit(main())
