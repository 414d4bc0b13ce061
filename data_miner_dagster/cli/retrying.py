"""The command `retry`: retry failed work, and the work of cancelled runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.holding import KeysFileOption, OfProjectOption, StageOption, scope_named
from data_miner_dagster.cli.options import ConfigOption, DryRunOption, RootOption, opened_existing
from data_miner_dagster.cli.output import echo
from data_miner_dagster.cli.upgrading import price_lines
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    from data_miner_dagster.catalog.retries import Retried


def retry(
    keys: Annotated[list[str] | None, typer.Argument(help="Video keys. Default: all failed work.")] = None,
    project: OfProjectOption = None,
    stage: StageOption = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Retry only failures of this kind; may be repeated.")
    ] = None,
    keys_file: KeysFileOption = None,
    dry_run: DryRunOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Make failed and unavailable videos, failed stages of projects and the work of cancelled runs due now.

    If keys, --project or --stage are given, all holds on that work end too. With --kind, no hold ends.
    """
    from data_miner_dagster.catalog.holds import lines_of_holds
    from data_miner_dagster.catalog.retries import retry_work
    from data_miner_dagster.config.problems import did_you_mean
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.domain.reasons import VideoErrorKind
    from data_miner_dagster.domain.work import FailureKind

    platform = opened_existing(root, config)
    known = sorted({*(known.value for known in VideoErrorKind), *(known.value for known in FailureKind)})
    for name in kind or []:
        if name not in known:
            raise ConfigError(f"--kind {name!r} is not a kind{did_you_mean(name, known)}")
    scope = scope_named(platform, project, stage, keys, keys_file)
    retried = retry_work(platform.database, scope, kinds=set(kind) if kind else None, is_dry_run=dry_run)
    for name in (*retried.videos, *retried.projects):
        echo(name)
    echo(_line(retried, dry_run=dry_run))
    for line in price_lines(platform, video_keys=retried.videos, with_current=dry_run):
        echo(line)
    for line in lines_of_holds(platform.database, project):
        echo(f"still: {line}", err=True)


def _line(retried: "Retried", *, dry_run: bool) -> str:
    """Return a line: what is retried and when, which holds end, and which stages stop waiting for an outage to end."""
    videos = counted(len(retried.videos), "video")
    projects = f" and {counted(len(retried.projects), 'project')}" if retried.projects else ""
    ended = f"{counted(retried.num_holds, 'hold')} {'would end' if dry_run else 'ended'}"
    holds = f"; {ended}" if retried.num_holds else ""
    stages = ", ".join(stage.value.lower() for stage in retried.stages)
    outages = f"; stages that no longer wait for an outage to pass: {stages}" if stages else ""
    if dry_run:
        return f"{videos}{projects} would be retried{holds}{outages}"
    when = " by the next run, or immediately by a running `data-miner up`"
    return f"{videos}{projects} will be retried{when}{holds}{outages}"
