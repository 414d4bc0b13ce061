"""Commands that stop and resume work: `pause`, `hold`, `resume`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import ConfigOption, DryRunOption, RootOption, opened_existing, said_again
from data_miner_dagster.cli.output import echo
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    from data_miner_dagster.catalog.holds import WorkScope, WorkWithin
    from data_miner_dagster.domain.work import WorkStage
    from data_miner_dagster.operations.platform import Platform

KeysArgument = Annotated[list[str] | None, typer.Argument(help="Video keys.")]
KeysFileOption = Annotated[Path | None, typer.Option("--keys-file", help="A text file with one video key per line.")]
OfProjectOption = Annotated[str | None, typer.Option("--project", "-p", help="Only work for this project.")]
StageOption = Annotated[
    str | None, typer.Option("--stage", help="Only this stage, such as downloading, extraction or detection.")
]
_ReasonOption = Annotated[
    str, typer.Option("--reason", help="The reason to show in `data-miner status` and in Dagster.")
]


def pause(
    project: OfProjectOption = None,
    stage: StageOption = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Also cancel the runs that are doing this work.")] = False,
    reason: _ReasonOption = "paused by hand",
    dry_run: DryRunOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Pause a project, a stage or all work until `resume`. Work in progress is finished, unless --cancel is given.

    Work on a video that another project also wants continues for that project. `hold` stops work on single videos.
    """
    platform = opened_existing(root, config)
    scope = scope_named(platform, project, stage)
    within = _hold(platform, scope, reason, dry_run=dry_run, is_cancelling=cancel)
    if cancel and not dry_run:
        from data_miner_dagster.cli.dagster_runs import cancel_batches

        for line in cancel_batches(platform, within.batches):
            echo(line)


def hold(
    keys: KeysArgument = None,
    project: OfProjectOption = None,
    stage: StageOption = None,
    keys_file: KeysFileOption = None,
    reason: _ReasonOption = "held by hand",
    dry_run: DryRunOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Hold single videos, a project or a stage until `resume`. A project waits for its held videos.

    To stop all work, or to cancel runs too, use `pause`, with --project for a single project.
    """
    from data_miner_dagster.domain.errors import ConfigError

    platform = opened_existing(root, config)
    scope = scope_named(platform, project, stage, keys, keys_file)
    if scope.video_keys is None and project is None and stage is None:
        raise ConfigError(
            "no work was given to hold; give video keys, --project or --stage, or use `data-miner pause` to pause all "
            "work"
        )
    _hold(platform, scope, reason, dry_run=dry_run, is_cancelling=False)


def resume(
    keys: KeysArgument = None,
    project: OfProjectOption = None,
    stage: StageOption = None,
    keys_file: KeysFileOption = None,
    dry_run: DryRunOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Resume paused and held work and the work of cancelled runs: everything, or only the work that you name."""
    from data_miner_dagster.catalog.holds import find_holds, holds_over, lines_of_holds, release_holds
    from data_miner_dagster.cli.dagster_runs import observe

    platform = opened_existing(root, config)
    scope = scope_named(platform, project, stage, keys, keys_file)
    look = find_holds if dry_run else release_holds
    found = look(platform.database, project=scope.project, stage=scope.stage, video_keys=scope.video_keys)
    if dry_run:
        echo(f"{counted(len(found), 'hold')} would end")
        return
    if found:
        observe(platform, scope, None)
    goes_on = "; a running `data-miner up` resumes the work immediately, otherwise the next run does" if found else ""
    echo(f"{scope}: {counted(len(found), 'hold')} ended{goes_on}")
    if holds_over(platform.database, scope.project, scope.stage):
        for line in lines_of_holds(platform.database, project):
            echo(f"still: {line}", err=True)


def scope_named(
    platform: "Platform",
    project: str | None,
    stage: str | None,
    keys: "list[str] | None" = None,
    keys_file: Path | None = None,
) -> "WorkScope":
    """Return the scope of work that a command's arguments name.

    Raises:
        ConfigError: the project, the stage or a video does not exist, a video does not belong to the project, or
            `keys_file` cannot be read or contains no video key.
    """
    from data_miner_dagster.catalog.holds import WorkScope

    if project is not None:
        _check_project(platform, project)
    named = list(keys or []) + (keys_in_file(keys_file) if keys_file is not None else [])
    if not named:
        return WorkScope(project, stage_named(stage))
    return WorkScope(project, stage_named(stage), tuple(checked_keys(platform, named, project)))


def _check_project(platform: "Platform", name: str) -> None:
    """Raise ConfigError if no project has this name. If the name is a video's key, the message says so."""
    from data_miner_dagster.catalog.projects import find_project
    from data_miner_dagster.catalog.videos import find_videos
    from data_miner_dagster.domain.errors import ConfigError

    if find_project(platform.database, name) is None and find_videos(platform.database, [name]):
        raise ConfigError(
            f"{name} is the key of a video, not a project; give it as an argument, without "
            "--project (`data-miner pause` accepts no keys, so use `data-miner hold` instead)"
        )
    platform.project_config(name)


def stage_named(word: str | None) -> "WorkStage | None":
    """Return the stage that `word` names, or None if `word` is None.

    Raises:
        ConfigError: no stage has this name.
    """
    from data_miner_dagster.config.problems import did_you_mean
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.domain.work import WorkStage

    if word is None:
        return None
    known = [stage.value.lower() for stage in WorkStage]
    if word.lower() not in known:
        raise ConfigError(f"--stage {word!r} is not a stage{did_you_mean(word.lower(), known)}")
    return WorkStage(word.upper())


def keys_in_file(path: Path) -> list[str]:
    """Return the video keys in a text file with one key per line. Empty lines and lines that begin with # are ignored.

    Raises:
        ConfigError: the file cannot be read, or contains no key.
    """
    from data_miner_dagster.config.text_files import MAX_LIST_BYTES, read_text_file
    from data_miner_dagster.domain.errors import ConfigError

    try:
        text = read_text_file(path.expanduser(), max_bytes=MAX_LIST_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"--keys-file {path} does not exist; give a text file with one video key per line") from None
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not keys:
        raise ConfigError(f"--keys-file {path} contains no video key; write one per line")
    return keys


def checked_keys(platform: "Platform", keys: list[str], project: str | None) -> list[str]:
    """Return the distinct keys in the given order, after checking that their videos exist.

    If `project` is not None, the videos must also belong to it.

    Raises:
        ConfigError: a key belongs to no video, or its video does not belong to the project.
    """
    from data_miner_dagster.catalog.projects import find_project
    from data_miner_dagster.catalog.videos import find_videos
    from data_miner_dagster.domain.errors import ConfigError

    distinct = list(dict.fromkeys(keys))
    known = {row.key for row in find_videos(platform.database, distinct)}
    if unknown := [key for key in distinct if key not in known]:
        named = next((name for name in unknown if find_project(platform.database, name) is not None), None)
        if named is not None:
            raise ConfigError(f"{named} is a project, not the key of a video; write --project {named}")
        are = "is" if len(unknown) == 1 else "are"
        raise ConfigError(f"{_some(unknown)} {are} not in the catalog; `data-miner videos` lists the keys")
    if project is not None:
        wanted = {row.key for row in find_videos(platform.database, distinct, project=project)}
        if others := [key for key in distinct if key not in wanted]:
            are = "is" if len(others) == 1 else "are"
            raise ConfigError(
                f"{_some(others)} {are} not in project {project!r}, so nothing was done; "
                f"`data-miner videos --project {project}` lists its videos"
            )
    return distinct


def _some(keys: list[str], most: int = 3) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def _hold(platform: "Platform", scope: "WorkScope", reason: str, *, dry_run: bool, is_cancelling: bool) -> "WorkWithin":
    """Hold the work in a scope and print the effect on one line; return the amount of work, counted beforehand.

    With `dry_run`, the effect is printed, but the work is not held. `is_cancelling` says whether the caller will cancel
    the work in progress. It affects only the printed line.
    """
    from data_miner_dagster.catalog.holds import hold_items, work_within
    from data_miner_dagster.cli.dagster_runs import observe

    within = work_within(platform.database, scope)
    will = "would" if dry_run else "will"
    then = f"{will} be cancelled" if is_cancelling else f"{will} finish first"
    at_work = f", {within.num_in_flight} in progress {then}" if within.num_in_flight else ""
    if dry_run:
        echo(
            f"{scope} would be held: {counted(within.num_waiting, 'piece of work', 'pieces of work')} would "
            f"wait{at_work}"
        )
        return within
    num_new = hold_items(
        platform.database, project=scope.project, stage=scope.stage, video_keys=scope.video_keys, reason=reason
    )
    if num_new:
        observe(platform, scope, reason)
    what = "held" if num_new else "already held"
    echo(
        f"{scope}: {what}; "
        f"{counted(within.num_waiting, 'piece of work is', 'pieces of work are')} waiting{at_work}; "
        f"to resume, run `{scope.resume_command}{said_again(with_profile=False, with_config=True)}`"
    )
    return within
