"""Tables for people and JSON for machines: the only way to the terminal, which acts upon nothing that is printed here.

A file's name, a video's title and a site's message may hold sequences that move the cursor or set the clipboard.
"""

import json
import sys
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from data_miner_dagster.domain.foreign_text import printable

_PIPE_WIDTH = 200
"""Where nobody's window sets a width, `grep` should find a whole row."""


class PlainConsole(Console):
    """A console to which text is text: no markup is read in it, and no control sequence leaves it but rich's own."""

    def __init__(self, *, width: int | None = None, soft_wrap: bool = False) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, width=width, soft_wrap=soft_wrap)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments, their text made printable."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def echo(text: str, *, err: bool = False) -> None:
    """Print a line, or several."""
    typer.echo(printable(text), err=err)


def print_json(content: object) -> None:
    """Print what JSON can carry, indented."""
    echo(json.dumps(content, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """Print rows under headings; the columns in `numbers` are aligned to the right."""
    console = PlainConsole(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        # made printable before the columns are measured
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    console.print(table)


def shortened(text: str | None, length: int) -> str:
    """Return the first line, cut to `length` characters."""
    first = (text or "").split("\n", 1)[0]
    return first if len(first) <= length else first[: length - 1] + "…"
