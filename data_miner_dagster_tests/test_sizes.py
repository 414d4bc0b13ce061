"""Test the length of functions and files. One that is too long contains two ideas: split it by what each decides."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[1]
MAX_FUNCTION_LINES: Final = 60
MAX_FILE_LINES: Final = 400
PACKAGES: Final = ("data_miner_dagster", "data_miner_dagster_tests", "benchmarks", "documentation")
MIGRATIONS: Final = Path("data_miner_dagster/catalog/migrations/versions")
"""Migrations are written once, from the difference between two schemas, and never changed."""


def test_sizes__no_long_file_and_no_long_function() -> None:
    files = [path.relative_to(REPOSITORY) for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    assert len(files) > 500
    texts = {path: (REPOSITORY / path).read_text(encoding="utf-8") for path in files if MIGRATIONS not in path.parents}
    assert [problem for path, text in sorted(texts.items()) for problem in problems_of(path, text)] == []


def test_sizes__problems_are_found() -> None:
    function = "@cached\ndef f():\n" + "    x = 1\n" * 59
    assert list(problems_of(Path("a.py"), function)) == []
    assert list(problems_of(Path("a.py"), function + "    x = 1\n")) == ["a.py: f has 61 lines, more than 60"]
    inner = "class A:\n    async def f(self):\n" + "        x = 1\n" * 60
    assert list(problems_of(Path("a.py"), inner)) == ["a.py: f has 61 lines, more than 60"]
    assert list(problems_of(Path("a.py"), "x = 1\n" * 400)) == []
    assert list(problems_of(Path("a.py"), "x = 1\n" * 401)) == ["a.py has 401 lines, more than 400"]


def problems_of(path: Path, text: str) -> Iterator[str]:
    """Yield a message if a file is too long, and one for each function in it that is too long."""
    num_lines = len(text.splitlines())
    if num_lines > MAX_FILE_LINES:
        yield f"{path} has {num_lines} lines, more than {MAX_FILE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            num_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if num_lines > MAX_FUNCTION_LINES:
                yield f"{path}: {node.name} has {num_lines} lines, more than {MAX_FUNCTION_LINES}"
