"""Commands that remove data: `delete-project`, `delete-release`, `delete-videos`, `cleanup-orphans`, `forget`."""

from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    DryRunOption,
    ProjectArgument,
    RootOption,
    YesOption,
    confirm,
    opened_existing,
    said_again,
)
from data_miner_dagster.cli.output import echo
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from data_miner_dagster.catalog.schema import VideoRow
    from data_miner_dagster.operations.platform import Platform
    from data_miner_dagster.operations.upkeep.forgetting import HeldRelease
    from data_miner_dagster.operations.upkeep.removal import Removal


def delete_project(
    project: ProjectArgument,
    files: Annotated[
        bool,
        typer.Option(
            "--files",
            help="Also remove the project's derived tables, report and students, and all verdicts on its frames.",
        ),
    ] = False,
    releases: Annotated[bool, typer.Option("--releases", help="Also remove the project's releases.")] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a project. Its videos stay; `cleanup-orphans` removes those that no other project wants.

    The project's file in the watched folder gets the suffix `.removed`, because it would otherwise restore the project.
    """
    from data_miner_dagster.operations.upkeep.counting import count_project
    from data_miner_dagster.operations.upkeep.removal import remove_project

    platform = opened_existing(root, config)
    count = count_project(platform, project, with_files=files, with_releases=releases)
    echo(f"project {project}: {count}")
    if dry_run:
        return
    confirm(f"Remove project {project} from {platform.root}?", yes=yes)
    for path in remove_project(platform, project, with_files=files, with_releases=releases):
        echo(f"the project file was renamed to {path}" if path.exists() else f"{path}: removed")
    echo(f"project {project} was removed")
    _remove_partitions(platform)
    if count.num_videos > count.num_shared:
        again = said_again(with_profile=False, with_config=True)
        echo(f"next: run `data-miner cleanup-orphans{again}` to remove videos that no project wants any longer")


def delete_release(
    project: ProjectArgument,
    version: Annotated[str, typer.Argument(help="The version of the release, such as v001.")],
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a release, or record that its folder was deleted. Published copies stay.

    Its version is not used again, and later releases keep the splits of its videos.
    """
    from data_miner_dagster.catalog.outside_copies import find_outside_copies
    from data_miner_dagster.operations.upkeep.counting import count_release
    from data_miner_dagster.operations.upkeep.removal import remove_release

    platform = opened_existing(root, config)
    num_files, num_bytes = count_release(platform, project, version)
    echo(f"release {project} {version}: {counted(num_files, 'file')} ({size_text(num_bytes)})")
    if dry_run:
        return
    if num_files:
        confirm(f"Remove release {project} {version} from {platform.root}?", yes=yes)
    remove_release(platform, project, version)
    echo(f"release {project} {version} was removed")
    for copy in find_outside_copies(platform.database):
        if (copy.project_name, copy.version) == (project, version):
            echo(f"its published copy stays: {copy.url}")


def delete_videos(
    keys: Annotated[list[str], typer.Argument(help="Video keys.")],
    force: Annotated[bool, typer.Option("--force", help="Also remove videos that a project wants.")] = False,
    project: Annotated[
        str | None,
        typer.Option("--project", "-p", help="Remove the videos only from this project, and keep their files."),
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove videos with their frames and embeddings, or remove them only from one project.

    Videos that a project wants are kept. --force removes them too, but a source that lists them adds them again.
    """
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.operations.upkeep.counting import count_videos_to_remove
    from data_miner_dagster.operations.upkeep.removal import remove_videos

    if force and project is not None:
        raise ConfigError("--force removes videos from all projects and --project from one; give only one of them")
    platform = opened_existing(root, config)
    if project is not None:
        _take_out(platform, project, keys, dry_run=dry_run)
        return
    count = count_videos_to_remove(platform, keys)
    stay = "" if force or not count.num_wanted_by else "; without --force, videos that a project wants are kept"
    echo(f"{count}{stay}")
    if dry_run:
        return
    num_removable = count.num_videos if force else count.num_videos - count.num_wanted
    if num_removable:
        confirm(f"Remove {counted(num_removable, 'video')} from {platform.root}?", yes=yes)
    removal = remove_videos(platform, keys, force=force)
    _print_removal(removal)
    if force and removal.removed:
        echo("a source that lists a removed video adds it again; use `data-miner forget` to prevent this")
    _remove_partitions(platform)
    if removal.kept:
        raise typer.Exit(1)


def _take_out(platform: "Platform", project: str, keys: list[str], *, dry_run: bool) -> None:
    """Remove videos from one project. With `dry_run`, only count them.

    Raises:
        ConfigError: the project does not exist.
        ClaimHeldError: a worker holds the project.
        typer.Exit: a video does not belong to the project, and `dry_run` is not set. The status is 1.
    """
    from data_miner_dagster.catalog.videos import find_videos
    from data_miner_dagster.operations.upkeep.removal import take_out_of_project

    platform.project_config(project)
    wanted = {row.key for row in find_videos(platform.database, keys, project=project)}
    echo(
        f"{len(wanted)} of {counted(len(set(keys)), 'video belongs', 'videos belong')} to {project}; no file is "
        "removed, and other projects keep the videos"
    )
    if dry_run:
        return
    taken = take_out_of_project(platform, project, keys)
    again = said_again(with_profile=False, with_config=True)
    for key in taken.removed:
        echo(
            f"{key} was removed from {project}, whose next release will not contain it; "
            f"`data-miner add-video {project} ADDRESS{again}` adds it back"
        )
    for key, reason in taken.kept.items():
        echo(f"{key}: {reason}", err=True)
    if taken.kept:
        raise typer.Exit(1)


def cleanup_orphans(
    dry_run: DryRunOption = False, yes: YesOption = False, root: RootOption = None, config: ConfigOption = None
) -> None:
    """Remove videos that no project wants, files that belong to no video, and files that killed workers left behind.

    As with `doctor --fix`, other differences between the catalog and the files are repaired, too.
    """
    from data_miner_dagster.catalog.videos import unwanted_videos
    from data_miner_dagster.operations.upkeep.counting import count_videos_to_remove
    from data_miner_dagster.operations.upkeep.inspection import inspect_platform, mend_platform
    from data_miner_dagster.operations.upkeep.removal import remove_unwanted_videos

    platform = opened_existing(root, config)
    keys = [video.key for video in unwanted_videos(platform.database)]
    findings = inspect_platform(platform)
    num_fixable = sum(finding.is_fixable for finding in findings)
    differences = f"{counted(num_fixable, 'difference')} between the catalog and the files"
    unwanted = (
        f"no project wants {count_videos_to_remove(platform, keys)}"
        if keys
        else "each video is wanted by at least one project"
    )
    echo(f"{unwanted}; {differences} can be repaired")
    if dry_run:
        return
    if keys:
        confirm(f"Remove {counted(len(keys), 'video')} that no project wants from {platform.root}?", yes=yes)
    _print_removal(remove_unwanted_videos(platform))
    num_mended = mend_platform(platform, inspect_platform(platform))
    echo(f"{counted(num_mended, 'difference was', 'differences were')} repaired")
    _remove_partitions(platform)


def forget(
    target: Annotated[str, typer.Argument(help="A video's key, or a channel's id or exact name.")],
    reason: Annotated[
        str, typer.Option("--reason", help="The reason to record. Do not include personal names.")
    ] = "on request",
    keep_releases: Annotated[
        bool, typer.Option("--keep-releases", help="Keep releases that contain the video, and mark them as withdrawn.")
    ] = False,
    delete_releases: Annotated[bool, typer.Option("--delete-releases", hidden=True)] = False,  # the default
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Also remove published copies of releases that contain the video.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove every trace of a video, or of all videos of a channel, and refuse these videos from then on.

    Without --keep-releases, releases that contain them are removed too. Without --withdraw, published copies are kept.
    """
    from data_miner_dagster.catalog.videos import find_videos
    from data_miner_dagster.cli.dagster_history import forget_in_history, remove_stray_partitions
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.operations.upkeep.counting import count_videos_to_remove
    from data_miner_dagster.operations.upkeep.forgetting import find_forgettable, forget_videos, releases_holding
    from data_miner_dagster.operations.upkeep.traces import MIN_NEEDLE_LENGTH, needles_of

    if keep_releases and delete_releases:
        raise ConfigError("--keep-releases and --delete-releases contradict each other; give only one of them")
    platform = opened_existing(root, config)
    videos, _ = find_forgettable(platform, target)
    keys = [video.key for video in videos]
    others = [row for row in find_videos(platform.database) if row.key not in set(keys)]
    needles = needles_of(videos, others)
    if target not in keys and len(target) >= MIN_NEEDLE_LENGTH:
        needles = (*needles, target)  # the id or name of a channel
    held = releases_holding(platform, keys, unread := list[str]())
    shown_by = f"{counted(len(held), 'release shows', 'releases show')} frames of {'it' if len(keys) == 1 else 'them'}"
    echo(f"{count_videos_to_remove(platform, keys)}; {shown_by}")
    _tell_copies(platform, videos, held, unread, keep_releases=keep_releases)
    if dry_run:
        echo(f"{counted(len(keys), 'video')} would be forgotten: {', '.join(keys)}")
        return
    confirm(f"Forget {', '.join(keys)}? This cannot be undone.", yes=yes)
    is_withdrawn = not withdraw or _withdraw_published(platform, held)
    forgotten = forget_videos(platform, target, reason=reason, keep_releases=keep_releases)
    _print_removal(forgotten.removal)
    remove_stray_partitions(platform)
    if num_runs := forget_in_history(platform, needles, forgotten.projects):
        were = "was" if num_runs == 1 else "were"
        echo(f"{counted(num_runs, 'run')} that may show or name forgotten videos {were} removed from Dagster's history")
    _tell_traces(platform, needles, forgotten.releases if keep_releases else (), forgotten.left)
    if forgotten.projects:
        echo(
            f"next: run `data-miner run --config FILE{said_again()}` to build {', '.join(forgotten.projects)} without "
            "the forgotten videos; a running `data-miner up` does this automatically"
        )
    if not is_withdrawn:
        raise typer.Exit(1)


def _tell_copies(
    platform: "Platform",
    videos: "Sequence[VideoRow]",
    held: "Collection[HeldRelease]",
    unread: "Collection[str]",
    *,
    keep_releases: bool,
) -> None:
    from data_miner_dagster.operations.upkeep.forgetting import copies_showing

    for line in unread:
        echo(line, err=True)
    for release in held:
        echo(f"release {release}: {'will stay, marked as withdrawn' if keep_releases else 'will be removed'}")
    for copy in copies_showing(platform, videos, held):
        echo(f"outside the root: {copy}")


def _withdraw_published(platform: "Platform", held: "Collection[HeldRelease]") -> bool:
    """Remove the published copies of releases, report each, and return whether all could be removed."""
    from data_miner_dagster.operations.copies.publishing import withdraw_publications

    is_all = True
    for address, outcome in withdraw_publications(platform, {(one.project, one.version) for one in held}):
        if isinstance(outcome, str):
            is_all = False
            echo(f"not removed: {address}: {outcome}", err=True)
        else:
            echo(f"{address}: {counted(outcome, 'file')} removed")
    return is_all


def _tell_traces(
    platform: "Platform", needles: "Collection[str]", kept: "Collection[HeldRelease]", unread: "Collection[str]"
) -> None:
    """Search the root, the catalog and Dagster's storage for traces of forgotten videos, and report the remaining ones.

    `unread` has a line for each place that could not be read, which counts as a trace.

    Raises:
        typer.Exit: a trace is outside the releases in `kept`. The status is 1.
    """
    from data_miner_dagster.cli.dagster_history import open_history
    from data_miner_dagster.cli.dagster_tables import find_dagster_rows
    from data_miner_dagster.deployment import standing_dagster_home
    from data_miner_dagster.operations.upkeep.traces import find_traces, tables_naming

    home = standing_dagster_home(platform.layout)
    folders = [platform.root] if home is None or home.is_relative_to(platform.root) else [platform.root, home]
    kept_folders = [platform.layout.release_folder(release.project, release.version) for release in kept]
    left, num_kept = list(unread), 0
    for trace in find_traces(folders, needles):
        if any(trace.path.is_relative_to(folder) for folder in kept_folders):
            num_kept += 1
        else:
            left.append(str(trace))
    left += [f"the catalog: table {name}" for name in tables_naming(platform.database, needles)]
    with open_history(platform) as instance:
        if instance is not None:
            tables = find_dagster_rows(instance, needles, searched=folders)
            left += [f"Dagster's storage: table {name}" for name in tables]
    if num_kept:
        show = "file of a kept release shows or names" if num_kept == 1 else "files of kept releases show or name"
        echo(f"{num_kept} {show} forgotten videos")
    for line in left:
        echo(f"remaining: {line}", err=True)
    if left:
        places = f"{counted(len(left), 'place names or may name', 'places name or may name')} forgotten videos"
        echo(
            f"{places}; edit any project file in this list, repair or remove any damaged file "
            "(`data-miner doctor --fix` removes those that can be recreated), stop `data-miner up`, and run the same "
            "command again",
            err=True,
        )
        raise typer.Exit(1)
    other = "other " if num_kept else ""
    echo(f"no {other}trace is left under the root, in the catalog or in Dagster's storage")


def _remove_partitions(platform: "Platform") -> None:
    from data_miner_dagster.cli.dagster_history import remove_stray_partitions

    if remove_stray_partitions(platform) is None:
        echo(
            "some partitions stay in Dagster because a run is in flight; once it has ended, `data-miner up` removes "
            "them within a day, and `data-miner doctor --fix` immediately"
        )


def _print_removal(removal: "Removal") -> None:
    for key in removal.removed:
        echo(f"{key}: removed")
    for key, reason in removal.kept.items():
        echo(f"{key}: kept, {reason}", err=True)
    echo(f"{counted(len(removal.removed), 'video')} removed, {size_text(removal.freed_bytes)} freed")
