"""Print text, tables and JSON with unprintable characters replaced, and with suggested commands completed.

File names, video titles and sites' messages may contain control sequences that move the cursor or set the clipboard.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from data_miner_dagster.cli.suggestions import with_given_options
from data_miner_dagster.domain.foreign_text import printable

_PIPE_WIDTH = 200
"""Table width if the output is not a terminal and COLUMNS is not set: enough for `grep` to find a whole row."""


class PlainConsole(Console):
    """A console that prints text literally: no markup is interpreted, and the only control sequences are rich's own."""

    def __init__(self, *, width: int | None = None, soft_wrap: bool = False) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, width=width, soft_wrap=soft_wrap)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print like `Console.print`, with the suggested commands in strings completed."""
        super().print(*(with_given_options(one) if isinstance(one, str) else one for one in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments with unprintable characters in their text replaced."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def echo(text: str, *, err: bool = False) -> None:
    """Print one or more lines, with unprintable characters replaced and suggested commands completed."""
    typer.echo(printable(with_given_options(text)), err=err)


def print_json(content: object) -> None:
    """Print content as indented JSON."""
    typer.echo(printable(json.dumps(content, indent=2, ensure_ascii=False)))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """Print rows under column headings. The columns in `numbers` are right-aligned."""
    is_told = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = PlainConsole(width=None if is_told else _PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        # Replaced here, before rich measures the columns.
        table.add_row(*(Text("" if cell is None else printable(with_given_options(str(cell)))) for cell in row))
    console.print(table)


def shortened(text: str | None, length: int) -> str:
    """Return the first line of `text`, cut to at most `length` characters. If `text` is None, the result is empty."""
    first = (text or "").split("\n", 1)[0]
    return first if len(first) <= length else first[: length - 1] + "…"
