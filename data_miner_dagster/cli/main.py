"""The `data-miner` command line and its error handling.

Belongs here: registering commands, and turning errors into one line and an exit status. Does not belong here: the body
of any command. Command modules import heavy libraries inside functions to keep `--help` fast.
"""

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Final

import typer

from data_miner_dagster import __version__
from data_miner_dagster.cli import alerts, review, try_folder
from data_miner_dagster.cli import config as config_commands
from data_miner_dagster.cli import models as model_commands
from data_miner_dagster.cli.backfill import backfill
from data_miner_dagster.cli.backing_up import backup, backups, restore
from data_miner_dagster.cli.calibrate import calibrate
from data_miner_dagster.cli.catalog import add_video, init_db, populate
from data_miner_dagster.cli.cost import cost
from data_miner_dagster.cli.damage import damage_behind
from data_miner_dagster.cli.demo import demo
from data_miner_dagster.cli.doctor import doctor
from data_miner_dagster.cli.evaluate import evaluate
from data_miner_dagster.cli.forcing import force_dedup, force_detect
from data_miner_dagster.cli.holding import hold, pause, resume
from data_miner_dagster.cli.init import init
from data_miner_dagster.cli.metrics import metrics
from data_miner_dagster.cli.misuse import PROGRAM, is_misuse, misuse_line
from data_miner_dagster.cli.moving import migrate_to
from data_miner_dagster.cli.options import ConfigOption, ProfileOption, RootOption, platform_options
from data_miner_dagster.cli.output import echo
from data_miner_dagster.cli.planning import plan
from data_miner_dagster.cli.pruning import prune
from data_miner_dagster.cli.rebuilding import rebuild
from data_miner_dagster.cli.releases import export, publish, releases
from data_miner_dagster.cli.retrying import retry
from data_miner_dagster.cli.room import clean
from data_miner_dagster.cli.run import run
from data_miner_dagster.cli.selecting import select
from data_miner_dagster.cli.showing import projects, status, videos
from data_miner_dagster.cli.similar import similar
from data_miner_dagster.cli.tracing import diff, trace
from data_miner_dagster.cli.training import train_check
from data_miner_dagster.cli.up import up
from data_miner_dagster.cli.upkeep import cleanup_orphans, delete_project, delete_release, delete_videos, forget
from data_miner_dagster.config.environment import DEBUG_VARIABLE, VERBOSE_VARIABLE, set_variable
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.unwritable import unwritable_behind

EXIT_FAILED: Final = 1
EXIT_MISUSE: Final = 2

app = typer.Typer(
    name="data-miner",
    help="Turn one YAML file into a deduplicated, labelled, versioned computer-vision dataset.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_COMMANDS: Final[Mapping[str, tuple[Callable[..., None], ...]]] = {
    "Work": (init, plan, run, up, demo, export, rebuild),
    "Catalog": (init_db, populate, add_video, migrate_to),
    "Copies": (publish, backup, restore, backups),
    "Inspect": (status, projects, videos, releases, trace, diff, similar, cost, evaluate, doctor, metrics),
    "Tune": (calibrate, select, train_check),
    "Stop": (pause, hold, resume),
    "Repeat": (retry, backfill, force_dedup, force_detect),
    "Remove": (delete_project, delete_release, delete_videos, cleanup_orphans, forget, clean, prune),
}
"""Commands by `--help` panel. Each command is named after its function."""

for panel, commands in _COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(review.app, name="review", rich_help_panel="Work")
app.add_typer(try_folder.app, name="try", rich_help_panel="Tune")
app.add_typer(model_commands.app, name="models", rich_help_panel="Inspect")
app.add_typer(alerts.app, name="alerts", rich_help_panel="Inspect")
app.add_typer(config_commands.app, name="config", rich_help_panel="Inspect")


def _let_terminals_break_lines(group: typer.Typer) -> None:
    """Remove line breaks within the paragraphs of each command's help, so that the text fills the terminal's width."""
    for command in group.registered_commands:
        paragraphs = inspect.cleandoc(command.help or inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
    for below in group.registered_groups:
        if below.typer_instance is not None:
            _let_terminals_break_lines(below.typer_instance)


_let_terminals_break_lines(app)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        echo(f"data-miner {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Turn one YAML file into a deduplicated, labelled, versioned computer-vision dataset."""
    context.obj = platform_options(root, config, profile)
    if verbose:
        set_variable(VERBOSE_VARIABLE, 1)


def main() -> None:
    """Run the command line, and exit. An error from this package is printed to stderr as a single line.

    The exit status is 2 for mistakes in files, settings and options, and 1 for other errors. An unexpected error is
    raised with its traceback, and so are the errors of this package if DATA_MINER_DEBUG is 1.
    """
    try:
        sys.exit(app(prog_name=PROGRAM, standalone_mode=False) or 0)  # not standalone, so that errors are raised here
    except typer.Abort:
        echo("error: the command was not confirmed; answer `y`, or use --yes", err=True)
        sys.exit(EXIT_FAILED)
    except DataMinerError as error:
        if os.environ.get(DEBUG_VARIABLE) == "1":
            raise
        echo(f"error: {with_references(str(error))}", err=True)
        sys.exit(EXIT_MISUSE if isinstance(error, ConfigError) else EXIT_FAILED)
    except Exception as error:
        if is_misuse(error):
            if mistake := misuse_line(error):
                echo(f"error: {with_references(mistake)}", err=True)
            sys.exit(EXIT_MISUSE)
        if os.environ.get(DEBUG_VARIABLE) == "1":
            raise
        if (line := unwritable_behind(error) or damage_behind(error)) is None:
            raise
        echo(f"error: {line}", err=True)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
