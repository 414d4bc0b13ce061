"""The command `run`: build the release of one project file, through Dagster in this process."""

import time
from pathlib import Path
from typing import Annotated

import typer

from data_miner_dagster.cli.options import ProfileOption, RootOption
from data_miner_dagster.cli.progress import console
from data_miner_dagster.domain.lasting_objects import creating_lasting_objects
from data_miner_dagster.domain.phrases import counted


def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="The project file.")],
    root: RootOption = None,
    profile: ProfileOption = None,
    force: Annotated[bool, typer.Option("--force", help="Build the dataset again even if it is current.")] = False,
) -> None:
    """Build the release of one project file, without a server or a daemon."""
    with creating_lasting_objects():
        from data_miner_dagster.cli.in_process import run_project_file
        from data_miner_dagster.cli.summary import print_summary

    started = time.monotonic()
    runner = run_project_file(config, root=root, profile=profile, force=force)
    print_summary(runner.platform, runner.project)
    what = counted(runner.num_done, "task") if runner.num_done else "everything is current: nothing to do"
    console.print(f"{what}; finished in {time.monotonic() - started:.0f} s")
