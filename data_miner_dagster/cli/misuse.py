"""Report mistakes in options and arguments like every other error: on one line, with the value and the remedy."""

import re
from typing import Any, Final

import typer

_UsageError: Final = typer.BadParameter.__base__ or typer.BadParameter  # typer gives it no public name
PROGRAM: Final = "data-miner"
_PYDANTIC_PREFIX: Final = "Value error, "
_PYDANTIC: Final = re.compile(r"^Input should (be .*?)(, unable to parse .*)?$")
_WITHOUT_KEYS: Final = "pause"
_WITH_KEYS: Final = "hold"
"""The command that holds single videos. The command `_WITHOUT_KEYS` pauses projects and stages."""
_EXTRA: Final = re.compile(r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)$")


def is_misuse(error: Exception) -> bool:
    """Return whether typer raised the error because of the options and arguments that a user gave."""
    return isinstance(error, _UsageError)


def misuse_line(error: Any) -> str:
    """Return one line about wrong options or arguments: the mistake, and the command whose help explains them.

    The line is empty if the command was called without arguments, because typer has then already printed its help.
    """
    problem = _problem(error).strip().rstrip(".")
    if not problem:
        return ""
    command = PROGRAM if error.ctx is None else error.ctx.command_path
    return f"{problem[0].lower()}{problem[1:]}; see `{command} --help`"


def _problem(error: Any) -> str:
    if extra := _EXTRA.match(error.message):
        return f"`{extra[1]}` is not expected here{_meant(error, extra[1])}"
    errors = getattr(error.__cause__, "errors", None)  # of pydantic's ValidationError, which takes long to import
    match = _PYDANTIC.match(error.message)
    if errors is None or match is None:
        return str(error.format_message()).replace(_PYDANTIC_PREFIX, "")
    names = [*error.param.opts, error.param.metavar or ""]
    name = next((name for name in names if name.startswith("--")), names[-1])
    return f"`{name} {errors()[0]['input']}` is wrong: it should {match[1]}"


def _meant(error: Any, words: str) -> str:
    """Suggest how to give `words` as a project's name or as video keys; return an empty string if neither fits."""
    if error.ctx is None:
        return ""
    command = error.ctx.command
    is_name = " " not in words and any("--project" in option.opts for option in command.params)
    guesses = [f"`--project {words}`"] if is_name else []
    if command.name == _WITHOUT_KEYS:
        guesses.append(f"`{PROGRAM} {_WITH_KEYS} {words}` for single videos")
    return f"; use {', or '.join(guesses)}" if guesses else ""
