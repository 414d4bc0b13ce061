"""Options that many commands share, and the platform that they select.

The options can also be given before the command.
"""

import getpass
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_miner_dagster.cli.suggestions import PLATFORM_FILE_HELP, remember_options
from data_miner_dagster.cli.upgrading import tell_upgrade
from data_miner_dagster.config.environment import (
    CONFIG_VARIABLE,
    PROFILE_VARIABLE,
    ROOT_VARIABLE,
    VERBOSE_VARIABLE,
    set_variable,
)
from data_miner_dagster.config.models import PROFILE_NAMES, checked_profile

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform

RootOption = Annotated[
    Path | None,
    typer.Option("--root", help="The folder for all data. Default: $DATA_MINER_ROOT, or else platform.storage.root."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help=f"{PLATFORM_FILE_HELP} Default: $DATA_MINER_CONFIG.")
]


def _current_context() -> Any:
    """Return the context of the running command, or None if no command is running."""
    try:
        from typer._click.globals import get_current_context  # newer Typer has its own copy of click
    except ImportError:
        from click import get_current_context  # type: ignore[no-redef]
    return get_current_context(silent=True)


def _contexts(context: Any) -> Iterator[Any]:
    """Yield the context of a command, and then the contexts of its enclosing groups from the inside out."""
    while context is not None:
        yield context
        context = context.parent


def _profile(name: str | None) -> str | None:
    return None if name is None else checked_profile(name)


def _complete_profile(incomplete: str) -> list[str]:
    return [name for name in PROFILE_NAMES if name.startswith(incomplete)]


def profile_option(help_text: str) -> Any:
    """Return the `--profile` option, which rejects an unknown name with a one-line error."""
    return typer.Option(
        "--profile",
        metavar=f"[{'|'.join(PROFILE_NAMES)}]",
        callback=_profile,
        autocompletion=_complete_profile,
        help=help_text,
    )


ProfileOption = Annotated[str | None, profile_option("The models to use: small ones for a CPU, or the full ones.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change, without changing anything.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def complete_project(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of projects that begin with the typed text.

    The list is empty if an error occurs, because a shell cannot show it.
    """
    try:
        from data_miner_dagster.catalog.projects import find_projects

        given = next(filter(None, (one.params.get("root") for one in _contexts(context))), None)
        platform = platform_options(Path(given) if given else None, None, None).open()
        names = [row.name for row in find_projects(platform.database)] if platform.has_catalog else []
    except Exception:  # noqa: BLE001 - nothing to complete
        return []
    return [name for name in names if name.startswith(incomplete)]


ProjectArgument = Annotated[str, typer.Argument(help="The project's name.", autocompletion=complete_project)]
ProjectOption = Annotated[
    str | None,
    typer.Option("--project", "-p", help="Only items of this project.", autocompletion=complete_project),
]


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """The options that select a command's platform.

    An option that is None leaves the choice to the environment and the settings.
    """

    root: Path | None = None
    config: Path | None = None
    profile: str | None = None

    def open(self) -> "Platform":
        """Return the platform that the options select."""
        # Imported here so that a mistyped command does not load a database library.
        from data_miner_dagster.operations.opening import open_platform

        return open_platform(self.root, self.config, self.profile)

    def pass_on(self) -> None:
        """Make child processes, and Dagster's resource in this process, open the same platform."""
        for name, value in (
            (ROOT_VARIABLE, self.root),
            (CONFIG_VARIABLE, self.config),
            (PROFILE_VARIABLE, self.profile),
        ):
            if value is not None:
                set_variable(name, value)


def platform_options(root: Path | None, config: Path | None, profile: str | None) -> PlatformOptions:
    """Return a command's options, and pass them on to child processes.

    If an option is not given after the command, its value from before the command is used. --root and --config may also
    come from the environment.
    """
    context = _current_context()
    before = (context.find_object(PlatformOptions) if context is not None else None) or PlatformOptions()
    options = PlatformOptions(
        _absolute(root, before.root, ROOT_VARIABLE),
        _absolute(config, before.config, CONFIG_VARIABLE),
        profile if profile is not None else before.profile,
    )
    options.pass_on()
    remember_options(_said(), context.find_root().command if context is not None else None)
    return options


def _absolute(given: Path | None, before: Path | None, variable: str) -> Path | None:
    """Return the path given with the command, else before the command, else in the environment, else None.

    The path is absolute, because child processes may start in another folder.
    """
    if given is not None:
        return given.expanduser().absolute()
    if before is not None:
        return before
    named = os.environ.get(variable)
    return Path(named).expanduser().absolute() if named else None


def opened(root: Path | None = None, config: Path | None = None, profile: str | None = None) -> "Platform":
    """Open the platform that the options and the environment select, and set up logging from its settings.

    Raises:
        ConfigError: a settings file is missing or invalid, or an environment variable has an invalid value.
    """
    from data_miner_dagster.operations.logs import set_up_logging

    platform = platform_options(root, config, profile).open()
    set_up_logging(platform.config.logging, verbose=os.environ.get(VERBOSE_VARIABLE) == "1")
    return platform


def opened_existing(root: Path | None = None, config: Path | None = None, profile: str | None = None) -> "Platform":
    """Open the selected platform for a command that needs existing data.

    If the catalog is migrated, the work that the next builds will redo is printed to stderr.

    Raises:
        ConfigError: the root does not exist or contains no data yet, or the settings are invalid.
    """
    from data_miner_dagster.domain.errors import ConfigError

    platform = opened(root, config, profile)
    if not platform.has_catalog and not platform.layout.filled_rooms():  # files without a catalog cause an error later
        raise ConfigError(
            f"{platform.root} contains no catalog; give the right root with --root or DATA_MINER_ROOT, "
            "or create a catalog with `data-miner populate --config FILE`"
        )
    tell_upgrade(platform)
    return platform


def said_again(*, default_profile: str | None = None, with_profile: bool = True, with_config: bool = False) -> str:
    """Return the options to repeat in the suggested next command, with a leading space, or "" if none was given.

    These are --root, --config if `with_config` is set, and --profile. If --profile was not given, `default_profile` is
    used unless it is None. Set `with_profile` to False for a command without that option, and `with_config` to True for
    a command whose --config is a file with settings rather than the project file. Values from the environment are not
    repeated.
    """
    said = _said()
    said["config"] = said.get("config") if with_config else None
    said["profile"] = (said.get("profile") or default_profile) if with_profile else None
    return "".join(f" --{name} {shlex.quote(str(value))}" for name, value in said.items() if value)


def _said() -> dict[str, object]:
    """Return the values of --root, --config and --profile that the user gave with the command or before it."""
    said: dict[str, object] = {}
    for context in _contexts(_current_context()):
        said = {name: said.get(name) or context.params.get(name) for name in ("root", "config", "profile")}
    return said


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation unless `yes` is set.

    Raises:
        typer.Abort: the answer is no, or the input has ended.
    """
    if not yes:
        typer.confirm(question, abort=True)


def user_name() -> str:
    """Return the name of the user who runs this command, or "unknown" if there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
