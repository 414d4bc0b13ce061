"""Tables for people and JSON for machines."""

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 200
"""Where nobody's window sets a width, `grep` should find a whole row."""


def print_json(content: object) -> None:
    """Print what JSON can carry, indented."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """Print rows under headings; the columns in `numbers` are aligned to the right."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        # Text, not str: a video's title is no markup, and may hold control characters
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console.print(table)


def shortened(text: str | None, length: int) -> str:
    """Return the first line, cut to `length` characters."""
    first = (text or "").split("\n", 1)[0]
    return first if len(first) <= length else first[: length - 1] + "…"


def size_text(size_bytes: float) -> str:
    """Return a size in the largest unit that leaves at least one whole."""
    for unit in ("B", "KB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
