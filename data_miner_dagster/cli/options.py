"""Options that many commands share, and what they lead to. Given before the command they hold for all the same."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from data_miner_dagster.cli.upgrading import tell_upgrade
from data_miner_dagster.config.environment import (
    CONFIG_VARIABLE,
    PROFILE_VARIABLE,
    ROOT_VARIABLE,
    VERBOSE_VARIABLE,
    set_variable,
)

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform

RootOption = Annotated[Path | None, typer.Option("--root", help="Where everything is kept.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="A file with a `platform` section; else DATA_MINER_CONFIG.")
]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="lite or standard.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ProjectArgument = Annotated[str, typer.Argument(help="The project's name.")]
ProjectOption = Annotated[str | None, typer.Option("--project", "-p", help="Only this project's.")]


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """Which platform a command works on; None where no option says so, and the environment or the settings do."""

    root: Path | None = None
    config: Path | None = None
    profile: str | None = None

    def open(self) -> "Platform":
        """Return the platform."""
        # Here: a mistyped command should not cost the import of a database library.
        from data_miner_dagster.operations.opening import open_platform

        return open_platform(self.root, self.config, self.profile)

    def pass_on(self) -> None:
        """Have the processes that this one starts, and Dagster's resource in this one, open the same platform."""
        for name, value in (
            (ROOT_VARIABLE, self.root),
            (CONFIG_VARIABLE, self.config),
            (PROFILE_VARIABLE, self.profile),
        ):
            if value is not None:
                set_variable(name, value)


def platform_options(root: Path | None, config: Path | None, profile: str | None) -> PlatformOptions:
    """Return the options of a command, and where it has none those given before it; other processes are told, too."""
    context = click.get_current_context(silent=True)
    before = (context.find_object(PlatformOptions) if context is not None else None) or PlatformOptions()
    options = PlatformOptions(
        root.expanduser().absolute() if root is not None else before.root,
        config.expanduser().absolute() if config is not None else before.config,
        profile if profile is not None else before.profile,
    )
    options.pass_on()
    return options


def opened(root: Path | None = None, config: Path | None = None, profile: str | None = None) -> "Platform":
    """Return the platform that the options and the environment name; logging is set up as it says."""
    from data_miner_dagster.operations.logs import set_up_logging

    platform = platform_options(root, config, profile).open()
    set_up_logging(platform.config.logging, verbose=os.environ.get(VERBOSE_VARIABLE) == "1")
    return platform


def opened_existing(root: Path | None = None, config: Path | None = None, profile: str | None = None) -> "Platform":
    """The same for commands that only look: a root that is not there is a mistake, not a wish for an empty one.

    Raises:
        ConfigError: nothing has been kept there yet.
    """
    from data_miner_dagster.domain.errors import ConfigError

    platform = opened(root, config, profile)
    if not platform.has_catalog and not platform.layout.filled_rooms():  # beside files, its absence is another mistake
        raise ConfigError(
            f"there is no catalog under {platform.root} yet; name its root with --root or DATA_MINER_ROOT, "
            "or start one with `data-miner populate --config FILE`"
        )
    tell_upgrade(platform)
    return platform


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless `--yes`; go no further on a no."""
    if not yes:
        typer.confirm(question, abort=True)
