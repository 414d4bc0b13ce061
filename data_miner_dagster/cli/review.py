"""The command `review`: judge a project's frames and boxes in the browser."""

import os
import sys
import webbrowser
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from data_miner_dagster.cli.exchanging import export_verdicts, import_verdicts, list_verdicts
from data_miner_dagster.cli.options import (
    ConfigOption,
    ProfileOption,
    ProjectArgument,
    RootOption,
    opened_existing,
    user_name,
)
from data_miner_dagster.cli.output import echo
from data_miner_dagster.cli.ports import check_port
from data_miner_dagster.domain.errors import ConfigError

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform

WhoOption = Annotated[str | None, typer.Option("--who", help="The author of the answers. Default: the user's name.")]


class _OpensByDefault(TyperGroup):
    """A group that opens the review pages if its first argument is a project rather than a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve the command that the first argument names, or `open` if it is neither a command nor an option."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            args = ["open", *args]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Return the commands and projects that begin with the typed text."""
        found = super().shell_complete(ctx, incomplete)
        opened = self.get_command(ctx, "open")
        if opened is None or incomplete.startswith("-"):
            return found
        return [*found, *opened.params[0].shell_complete(ctx, incomplete)]


app = typer.Typer(
    name="review",
    help="Review frames and boxes in the browser: `data-miner review PROJECT`, with the options of `open`.",
    cls=_OpensByDefault,
    no_args_is_help=True,
)
app.command("export")(export_verdicts)
app.command("import")(import_verdicts)
app.command("list")(list_verdicts)


@app.command("open")
def open_pages(
    project: ProjectArgument,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=1,
            max=65535,
            help="The port to serve the pages on. Default: the port of a running `up`, or else "
            "platform.web.review_port.",
        ),
    ] = None,
    who: WhoOption = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the link without opening a browser.")] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """Serve the review pages, and print a link that logs one browser in. `review PROJECT` does the same."""
    from data_miner_dagster.config.web import REVIEW_HOST
    from data_miner_dagster.web.review.desk import project_desks
    from data_miner_dagster.web.review.serving import is_served, listening, login_link, port_of_up, review_server

    platform = opened_existing(root, config, profile)
    platform.project_config(project)  # a misspelt name is reported here, not in the browser
    port = port or port_of_up(platform) or platform.config.web.review_port
    is_there = is_served(platform, port)
    if not is_there:
        check_port(REVIEW_HOST, port)
    link = login_link(platform, port, reviewer(who), f"/projects/{project}")
    echo(
        f"{link}\n  This link logs in one browser, once; "
        + ("the pages are already being served" if is_there else "press Ctrl-C to stop")
    )
    if is_there:
        _show(platform, link, no_open=no_open)
        return
    with listening(port) as opened:
        _show(platform, link, no_open=no_open)
        review_server(platform, project_desks(platform), port).run(sockets=[opened])


def reviewer(who: str | None) -> str:
    """Return the name under which answers are stored: `who`, or the user's name if `who` is None.

    Unprintable characters are removed, and a long name is cut.

    Raises:
        ConfigError: the name has no printable characters.
    """
    from data_miner_dagster.web.review.access import MAX_NAME_LENGTH, reviewer_name

    who = user_name() if who is None else who
    name = reviewer_name(who)
    if name is None:
        raise ConfigError(f"--who {who!r} is not a valid name; use 1 to {MAX_NAME_LENGTH} printable characters")
    return name


def _show(platform: "Platform", link: str, *, no_open: bool) -> None:
    """Open a link in the browser, unless `no_open` is set or this machine has no desktop.

    The browser opens a private file that leads to the link, because other users can see process arguments.
    """
    has_desktop = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if no_open or not has_desktop:
        return
    from data_miner_dagster.web.review.serving import access_of

    webbrowser.open(access_of(platform).leading_file(link).as_uri())
