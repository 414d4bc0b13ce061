"""`data-miner verdicts PROJECT`: adds a person's verdicts on individual frames."""

import os
from pathlib import Path
from typing import Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    JsonOption,
    ProfileOption,
    ProjectArgument,
    RootOption,
    opened_existing,
)
from data_miner_dagster.cli.output import echo, print_json


def verdicts(
    project: ProjectArgument,
    answers: Annotated[Path | None, typer.Option(help="CSV with frame_id and answer (keep or drop).")] = None,
    who: Annotated[str | None, typer.Option(help="The author of the verdicts. Default: the user's name.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep or drop individual frames by hand. With --answers, add verdicts; then show how many there are."""
    from data_miner_dagster.operations.filtering.verdicts import count_frame_verdicts, import_verdicts

    platform = opened_existing(root, config, profile)
    if answers is None:
        counts = count_frame_verdicts(platform, project)
    else:
        counts = import_verdicts(platform, project, answers, who=who or os.environ.get("USER") or "unknown")
    if as_json:
        print_json({"kept": counts.num_kept, "dropped": counts.num_dropped, "unknown": list(counts.unknown)})
        return
    echo(f"{project}: {counts.num_kept} frames kept by hand, {counts.num_dropped} dropped")
    if counts.unknown:
        echo(f"{len(counts.unknown)} answers are about no frame of this project, such as {counts.unknown[0]}", err=True)
    if answers is not None:
        echo("the next `data-miner run` honours them")
