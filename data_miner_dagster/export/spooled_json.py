"""Stream a JSON object with some facts and two long lists to a file, and read it back."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO


def as_line(value: object) -> str:
    """Convert a value to JSON on one line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


class SpooledJson:
    """Writes `{<facts>, "<first>": [...], "<second>": [...]}` in bounded memory, with one entry per line.

    A separate file holds the second list until the end.
    """

    def __init__(self, path: Path, facts: Mapping[str, object], names: tuple[str, str]) -> None:
        first, self._second_name = names
        self._first: TextIO = path.open("w", encoding="utf-8")
        self._spool = path.with_suffix(f".{self._second_name}")
        self._second: TextIO = self._spool.open("w", encoding="utf-8")
        self._separators = ["\n", "\n"]
        self._first.write("{" + "".join(f'"{name}": {as_line(value)},\n' for name, value in facts.items()))
        self._first.write(f'"{first}": [')

    def add_first(self, entry: object) -> None:
        """Write an entry to the first list."""
        self._first.write(self._separators[0] + as_line(entry))
        self._separators[0] = ",\n"

    def add_second(self, entry: object) -> None:
        """Write an entry to the second list."""
        self._second.write(self._separators[1] + as_line(entry))
        self._separators[1] = ",\n"

    def close(self) -> None:
        """Append the second list to the first list's file, and delete the separate file."""
        with self._first, self._second:
            self._first.write(f'\n],\n"{self._second_name}": [')
            self._second.flush()
            with self._spool.open(encoding="utf-8") as spooled:
                shutil.copyfileobj(spooled, self._first)
            self._first.write("\n]}\n")
        self._spool.unlink()


def read_entries(path: Path, name: str) -> Iterator[Any]:
    """Yield the entries of a list that was written with one entry per line, in bounded memory.

    Raises:
        ValueError: the file has no list `name`, or the list is truncated or damaged.
    """
    with path.open(encoding="utf-8") as lines:
        opening = f'"{name}": ['
        if not any(line.rstrip("\n").endswith(opening) for line in lines):
            raise ValueError(f"{path.name} has no list {name!r}")
        for line in lines:
            if line.startswith("]"):
                return
            yield json.loads(line.rstrip("\n").removesuffix(","))
    raise ValueError(f"the list {name!r} in {path.name} is truncated")


def read_facts(path: Path) -> dict[str, Any]:
    """Return the facts before the first list in a file that `SpooledJson` wrote.

    Raises:
        ValueError: the file is damaged before its first list.
    """
    head = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith(": [\n"):
                break
            head.append(line)
    facts: dict[str, Any] = json.loads("".join(head).rstrip().removesuffix(",") + "}")
    return facts
