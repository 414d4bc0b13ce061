"""Commands that take back or take away: `retry`, `delete-project`, `delete-videos`, `cleanup-orphans`, `forget`."""

from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    ProjectOption,
    RootOption,
    YesOption,
    confirm,
    opened_existing,
)
from data_miner_dagster.cli.output import echo, size_text

if TYPE_CHECKING:
    from data_miner_dagster.operations.removal import Removal


def retry(
    keys: Annotated[list[str] | None, typer.Argument(help="Video keys; none: all that failed.")] = None,
    project: ProjectOption = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind of error; may be repeated.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Give failed and unavailable videos another chance, now."""
    from data_miner_dagster.catalog.upkeep import retry_videos
    from data_miner_dagster.config.problems import did_you_mean
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.domain.reasons import VideoErrorKind

    platform = opened_existing(root, config)
    known = [known.value for known in VideoErrorKind]
    for name in kind or []:
        if name not in known:
            raise ConfigError(f"--kind {name!r} is none{did_you_mean(name, known)}")
    if project is not None:
        platform.project_config(project)
    retried = retry_videos(
        platform.catalog.database,
        project=project,
        kinds={VideoErrorKind(name) for name in kind} if kind else None,
        video_keys=keys or None,
    )
    for key in retried:
        echo(key)
    echo(f"{len(retried)} videos will be tried again by the next run, or at once by a running `data-miner up`")


def delete_project(
    name: Annotated[str, typer.Argument(help="The project's name.")],
    files: Annotated[bool, typer.Option("--files", help="Its derived tables and report, too.")] = False,
    releases: Annotated[bool, typer.Option("--releases", help="What it published, too.")] = False,
    yes: YesOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a project. Its videos stay: other projects may want them (`cleanup-orphans` removes those nobody does)."""
    from data_miner_dagster.operations.removal import remove_project

    platform = opened_existing(root, config)
    platform.project_config(name)
    confirm(f"Remove project {name} from {platform.root}?", yes=yes)
    for path in remove_project(platform, name, with_files=files, with_releases=releases):
        echo(f"{path}: {'renamed' if path.exists() else 'removed'}")
    echo(f"project {name} removed")


def delete_videos(
    keys: Annotated[list[str], typer.Argument(help="Video keys.")],
    force: Annotated[bool, typer.Option("--force", help="Also those that projects want.")] = False,
    yes: YesOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove videos with their frames and embeddings; refused for those that a project wants."""
    from data_miner_dagster.operations.removal import remove_videos

    platform = opened_existing(root, config)
    confirm(f"Remove {len(keys)} videos from {platform.root}?", yes=yes)
    removal = remove_videos(platform, keys, force=force)
    _print_removal(removal)
    if removal.kept:
        raise typer.Exit(1)


def cleanup_orphans(yes: YesOption = False, root: RootOption = None, config: ConfigOption = None) -> None:
    """Remove videos that no project wants, files that no video owns, and what killed workers left."""
    from data_miner_dagster.catalog.queries import unwanted_videos
    from data_miner_dagster.operations.inspection import inspect_platform, mend_platform
    from data_miner_dagster.operations.removal import remove_unwanted_videos

    platform = opened_existing(root, config)
    num_unwanted = len(unwanted_videos(platform.catalog.database))
    if num_unwanted:
        confirm(f"Remove {num_unwanted} videos that no project wants from {platform.root}?", yes=yes)
    _print_removal(remove_unwanted_videos(platform))
    num_mended = mend_platform(platform, inspect_platform(platform))
    echo(f"{num_mended} leftovers mended")


def forget(
    target: Annotated[str, typer.Argument(help="A video's key, or a channel's id or exact name.")],
    reason: Annotated[str, typer.Option("--reason", help="Kept on record, beside the key.")] = "on request",
    delete_releases: Annotated[
        bool, typer.Option("--delete-releases", help="Remove the releases that contain it, instead of marking them.")
    ] = False,
    yes: YesOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a video, or all of a channel, with all that was derived from it, and never take it in again."""
    from data_miner_dagster.operations.removal import find_forgettable, forget_videos

    platform = opened_existing(root, config)
    videos, _ = find_forgettable(platform, target)
    confirm(f"Forget {', '.join(video.key for video in videos)}? This cannot be taken back.", yes=yes)
    forgotten = forget_videos(platform, target, reason=reason, delete_releases=delete_releases)
    _print_removal(forgotten.removal)
    for release in forgotten.withdrawn_releases:
        echo(f"release {release} contained it: {'removed' if delete_releases else 'marked as withdrawn'}")


def _print_removal(removal: "Removal") -> None:
    for key in removal.removed:
        echo(f"{key}: removed")
    for key, reason in removal.kept.items():
        echo(f"{key}: kept, {reason}", err=True)
    echo(f"{len(removal.removed)} videos removed, {size_text(removal.freed_bytes)} freed")
