"""The `data-miner` command: what it offers, and how it fails.

Belongs here: registration of commands and the one place that turns errors into one line and an exit status. Does not
belong here: any command's body. Command modules import what is heavy inside their functions, so that `--help` is quick.
"""

import os
import sys
from typing import Final

import typer

from data_miner_dagster.cli.demo import demo
from data_miner_dagster.cli.run import run
from data_miner_dagster.cli.up import up
from data_miner_dagster.domain.errors import ConfigError, DataMinerError

EXIT_FAILED: Final = 1
EXIT_MISUSE: Final = 2

app = typer.Typer(
    name="data-miner",
    help="From one YAML file to a deduplicated, labelled, versioned computer-vision dataset.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(up)
app.command()(demo)


def main() -> None:
    """Run the command line; an error of this package is one line on stderr and status 1, a mistake in a file 2."""
    try:
        app()
    except DataMinerError as error:
        if os.environ.get("DATA_MINER_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_MISUSE if isinstance(error, ConfigError) else EXIT_FAILED)


if __name__ == "__main__":
    main()
