"""Write the reference of all commands, from the command line itself. Only the site has this page.

Typer writes the page. Belongs here: the parts that Typer omits, which are the panels of `--help` and whole sentences in
the list of commands.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import typer.cli
from typer.main import get_command

from data_miner_dagster.cli.main import app

NAME: Final = "data-miner"
_INTRODUCTION: Final = """\
`data-miner COMMAND --help` shows this reference in a terminal. A mistake in a file or an option ends a command with
status 2, and any other error with status 1. Both print one line to stderr ([troubleshooting](troubleshooting.md)).
"""
_LIST: Final = re.compile(r"(?ms)^\*\*Commands\*\*:\n\n((?:\* `[^\n]*\n)+)")
_LONG: Final = 10_000
"""The longest first sentence to show, in characters. Typer's own lists have room for 45."""


def commands_page() -> str:
    """Return the reference as markdown."""
    group: Any = get_command(app)
    context = group.context_class(group, info_name=NAME)
    text = typer.cli.get_docs_for_click(obj=group, ctx=context, name=NAME, title="Commands")
    text = re.sub(r"<list\[(\w+)\]>", lambda match: f"<{match[1].lower()}>...", text)
    text = _LIST.sub(lambda _: "\n".join(_panels(group)) + "\n", text, count=1)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            before, heading, section = text.partition(f"## `{NAME} {name}`\n")
            text = before + heading + _with_whole_sentences(section, name, command)
    title, _, rest = text.partition("\n\n")
    return f"{title}\n\n{_INTRODUCTION}\n{rest.rstrip()}\n"


def _with_whole_sentences(section: str, name: str, group: Any) -> str:
    """Return the section of a group with its list of commands replaced by a table that has whole sentences."""
    return _LIST.sub(lambda _: "\n".join(_table(group.commands, name)) + "\n", section, count=1)


def _panels(group: Any) -> Iterator[str]:
    """Yield a table of commands for each panel of `--help`, in its order."""
    panels: dict[str, dict[str, Any]] = {}
    for name, command in group.commands.items():
        panels.setdefault(command.rich_help_panel, {})[name] = command
    for panel, commands in panels.items():
        yield f"**{panel}**"
        yield ""
        yield from _table(commands)


def _table(commands: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    yield "| command | what it does |"
    yield "|---|---|"
    for name, command in commands.items():
        words = f"{prefix} {name}".strip()
        meaning = command.get_short_help_str(_LONG).replace("|", "\\|")
        yield f"| [`{words}`](#{NAME}-{words.replace(' ', '-')}) | {meaning} |"
    yield ""
