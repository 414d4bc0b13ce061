"""Complete the commands that messages suggest with the options that the user has given, such as `--root`.

Most messages come from code that does not know the options of the running command, such as the catalog's lines about
holds. Everything that a command prints passes through `with_given_options`, so that a suggested command works as it is
printed.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_NAMES: Final = ("root", "config", "profile")
_COMMAND: Final = re.compile(r"(?P<before>\b(?:run|with) )?`data-miner (?P<words>[^`\n]+)`")
_DEFAULT_COMMAND: Final = "open"
"""The command of a group whose first argument names none: `data-miner review PROJECT`."""
PLATFORM_FILE_HELP: Final = "A file with a `platform` section."
"""The beginning of the help of a `--config` that names a file with settings, rather than the project file."""


@dataclass(slots=True)
class _Given:
    values: Mapping[str, object]
    program: Any  # the group of all commands, or None before a command has run


_given: Final = _Given({}, None)


def remember_options(values: Mapping[str, object], program: Any) -> None:
    """Remember the options of the running command, until the next command.

    Args:
        values: the values of `--root`, `--config` and `--profile` as the user wrote them, or None for those not given.
        program: the group of all commands, which knows their options.
    """
    _given.values = {name: values[name] for name in _NAMES if values.get(name)}
    _given.program = program


def with_given_options(text: str) -> str:
    """Return a message whose suggested commands have the options of the running command that they accept.

    Suggested commands are in backquotes. They have arguments, or follow "run" or "with", or are followed by "or" and
    another command. Options that a command already has are not repeated, and values from the environment are not added.
    """
    return _COMMAND.sub(_completed, text) if _given.values and _given.program is not None else text


def _completed(found: "re.Match[str]") -> str:
    words = found["words"].split()
    command = _given.program
    path = 0
    while subcommands := getattr(command, "commands", None):
        name = words[path] if path < len(words) else ""
        command = subcommands.get(name) or subcommands.get(_DEFAULT_COMMAND)
        path += name in subcommands
    is_alternative = found.string.startswith(" or `data-miner ", found.end())
    is_mention = path == len(words) and found["before"] is None and not is_alternative
    if command is None or is_mention or "--help" in words:
        return found[0]
    accepted = {param.name: param.help or "" for param in command.params if param.name in _given.values}
    added = [
        f" --{name} {shlex.quote(str(value))}"
        for name, value in _given.values.items()
        if name in accepted
        and f"--{name}" not in words
        and (name != "config" or accepted[name].startswith(PLATFORM_FILE_HELP))
    ]
    return f"{found[0][:-1]}{''.join(added)}`"
