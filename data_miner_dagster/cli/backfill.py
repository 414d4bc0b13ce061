"""The command `backfill`: produce one asset for chosen videos of a project, or run one stage of the project."""

from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.holding import KeysFileOption, checked_keys, keys_in_file
from data_miner_dagster.cli.options import ConfigOption, DryRunOption, RootOption, opened_existing, said_again
from data_miner_dagster.cli.output import echo
from data_miner_dagster.cli.progress import steps_on_stderr
from data_miner_dagster.cli.upgrading import price_lines
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data_miner_dagster.catalog.backfills import BackfillChoice
    from data_miner_dagster.domain.work import WorkStage


def backfill(
    asset: Annotated[
        str, typer.Option("--asset", "-a", help="The asset to produce: videos, frames, frame_embeddings, ...")
    ],
    project: Annotated[str, typer.Option("--project", "-p", help="The project that needs the asset.")],
    missing: Annotated[bool, typer.Option("--missing", help="Choose videos without the asset (the default).")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Choose videos for which the asset failed.")] = False,
    stale: Annotated[
        bool,
        typer.Option("--stale", help="Choose videos whose asset comes from different settings or another version."),
    ] = False,
    keys_file: KeysFileOption = None,
    force: Annotated[bool, typer.Option("--force", help="Recreate the asset even if it is current.")] = False,
    dry_run: DryRunOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Produce one asset for chosen videos of a project, or run one stage of the project.

    If a daemon is running, it receives the work in runs of at most 25 videos. Otherwise this process does the work.
    """
    from data_miner_dagster.catalog.backfills import Standing, choose_for_backfill
    from data_miner_dagster.catalog.holds import WorkScope, why_held
    from data_miner_dagster.catalog.retries import retry_work
    from data_miner_dagster.cli.wanted_runs import WantedRun, do_runs, runs_of_videos
    from data_miner_dagster.domain.errors import ConfigError, DataMinerError
    from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage

    chosen = {Standing.MISSING: missing, Standing.FAILED: failed, Standing.STALE: stale}
    standings = {standing for standing, is_chosen in chosen.items() if is_chosen}
    if keys_file is not None and standings:
        raise ConfigError(f"--keys-file {keys_file} already names the videos; omit --missing, --failed and --stale")
    platform = opened_existing(root, config)
    platform.project_config(project)
    stage = _stage_of(asset)
    if (held := why_held(platform.database, project, stage)) is not None:
        raise DataMinerError(held)
    if stage in VIDEO_STAGES:
        keys = None if keys_file is None else checked_keys(platform, keys_in_file(keys_file), project)
        wanted = standings or {Standing.MISSING}
        choice = choose_for_backfill(platform.database, stage, project, standings=wanted, video_keys=keys)
        runs = runs_of_videos(stage, choice.video_keys, force=force)
        lines = [*_lines_of_choice(asset, project, choice, len(runs))]
        if stage is WorkStage.EXTRACTION:  # videos that were chosen by their state are always recreated
            lines += price_lines(platform, video_keys=choice.video_keys, with_current=force or keys is None)
        for line in lines:
            echo(line)
    elif standings or keys_file is not None:
        raise ConfigError(f"{asset} is produced for a whole project; omit --missing, --failed, --stale and --keys-file")
    else:
        choice, runs = None, [WantedRun(stage, (project,), force=force)]
        echo(f"{asset} of project {project}: one run")
    if dry_run or not runs:
        return
    if choice is None or choice.num_failed:
        named = choice.video_keys if choice is not None else None
        retry_work(platform.database, WorkScope(project, stage, named))
    with steps_on_stderr():
        for line in do_runs(platform, project, runs):
            echo(line)


def _lines_of_choice(asset: str, project: str, choice: "BackfillChoice", num_runs: int) -> "Iterator[str]":
    """Yield a line about the chosen videos, and a line with a remedy for each stage at which left-out videos failed."""
    from data_miner_dagster.domain.work import ASSETS

    left_out = f"; left out: {choice.left_out}" if choice.left_out else ""
    videos, in_runs = counted(len(choice.video_keys), "video"), counted(num_runs, "run")
    yield f"{asset} of project {project}: {videos} in {in_runs}{left_out}"
    again = f"--project {quote(project)}{said_again()}"
    for some in choice.failed:
        later = some.num_videos - some.num_given_up
        numbers = ((some.num_given_up, "given up"), (later, "to be retried automatically"))
        told = ", ".join(f"{number:,} {what}" for number, what in numbers if number)
        yield (
            f"failed at {some.stage.value.lower()}: {told}; `data-miner status {again}` shows the reasons, "
            f"and `data-miner backfill --asset {ASSETS[some.stage]} --failed {again}` retries them now"
        )


def _stage_of(asset: str) -> "WorkStage":
    from data_miner_dagster.config.problems import did_you_mean
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.domain.work import ASSETS

    stages = {name: stage for stage, name in ASSETS.items()}
    if asset not in stages:
        raise ConfigError(f"--asset {asset!r} is not an asset{did_you_mean(asset, list(stages))}")
    return stages[asset]
