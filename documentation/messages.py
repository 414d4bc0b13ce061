"""List all error messages, as read from the source. Only the site has the list, below docs/troubleshooting.md.

Belongs here: finding messages and their order. Does not belong here: their meaning (remedies.py).
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from documentation.remedies import CLASSES

PACKAGE: Final = Path(__file__).parents[1] / "data_miner_dagster"
_OPEN: Final = "…"
"""Marks the variable parts of a message."""
FEWEST_LETTERS: Final = 12
"""A text with fewer letters of its own only wraps another message."""
_INTRODUCTION: Final = f"""\
## Messages

This section lists all messages of these errors, so that a search of this page finds them. `{_OPEN}` stands for the
variable parts: a path, a value or a name.
"""


def messages_section() -> str:
    """Return the section with all messages, grouped by the class of their error."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, message in messages_in(path.read_text(encoding="utf-8")):
            found.setdefault(name, set()).add(message)
    lines = [_INTRODUCTION]
    for error in CLASSES:
        messages = found.get(error.__name__, set())
        if messages:
            lines += [f"### {error.__name__}", ""]
            lines += [f"- {_as_code(message)}" for message in sorted(messages, key=_sort_key)]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def messages_in(source: str) -> Iterator[tuple[str, str]]:
    """Yield the class and message of each error that a module creates from a literal, with variable parts marked."""
    names = {error.__name__ for error in CLASSES}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            for argument in node.args:
                message = _text_of(argument)
                if message is not None and sum(map(str.isalpha, message)) >= FEWEST_LETTERS:
                    yield node.func.id, message
                    break


def _text_of(node: ast.expr) -> str | None:
    """Return the text of a string literal, or None if the expression is not one."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else _OPEN for part in node.values]
        return "".join(str(part) for part in parts)
    return None


def _sort_key(message: str) -> tuple[str, str]:
    return message.lstrip(f"{_OPEN}:,;'\"` ").lower(), message


def _as_code(message: str) -> str:
    """Return markdown that shows a message unchanged."""
    return f"`` {' '.join(message.split())} ``"
