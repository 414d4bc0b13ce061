"""`data-miner review PROJECT`: look at frames and boxes in the browser, and say what is right."""

from typing import Any

import typer
from typer.core import TyperGroup

from data_miner_dagster.cli.exchanging import export_verdicts, import_verdicts, list_verdicts


class _OpensByDefault(TyperGroup):
    """A group whose first argument may be a project instead of a command: it is then opened."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name, or else `open`."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            args = ["open", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="review",
    help="Look at frames and boxes, and say what is right: `data-miner review PROJECT`.",
    cls=_OpensByDefault,
    no_args_is_help=True,
)
app.command("export")(export_verdicts)
app.command("import")(import_verdicts)
app.command("list")(list_verdicts)
