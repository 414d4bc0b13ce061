"""Commands on existing releases: `export`, `releases`."""

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
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.progress import steps_on_stderr
from data_miner_dagster.export.formats import WHOLE, export_help

_MOST_LEFT_OUT = 10


def export(
    project: ProjectArgument,
    to: Annotated[Path, typer.Option("--to", help="A new or empty folder.")],
    format: Annotated[str, typer.Option("--format", "-f", help=export_help())] = WHOLE,
    version: Annotated[str | None, typer.Option("--version", help="Default: the latest not withdrawn.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """Copy a release, or one format of it, out of the root. Includes the images and verifies every file."""
    from data_miner_dagster.operations.releasing.exporting import export_release

    platform = opened_existing(root, config, profile)
    with steps_on_stderr():
        outcome = export_release(platform, project, format=format, to=to.expanduser(), version=version)
    echo(f"{project} {outcome.version}: {outcome.num_images:,} images, {outcome.num_boxes:,} boxes → {outcome.folder}")
    for name, line in list(outcome.left_out.items())[:_MOST_LEFT_OUT]:
        echo(f"left out: {name}: {line}")
    if (num_more := len(outcome.left_out) - _MOST_LEFT_OUT) > 0:
        echo(f"left out: {num_more} more, which the log names")


def releases(
    project: ProjectArgument,
    check: Annotated[bool, typer.Option("--check", help="Read every file and compare it with the manifest.")] = False,
    as_json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """List a project's releases with their content, and optionally verify their files."""
    from data_miner_dagster.domain.errors import DataMinerError
    from data_miner_dagster.operations.releasing.standing import list_releases
    from data_miner_dagster.stages.costs import cost_line

    found = list_releases(opened_existing(root, config, profile), project, check=check)
    if as_json:
        print_json([release.as_json() for release in found])
    else:
        print_table(
            ["release", "videos", "images", "boxes", "made", "state", "changes", "cost"],
            [
                (
                    release.version,
                    release.num_videos,
                    release.num_images,
                    release.num_boxes,
                    f"{release.created_at:%Y-%m-%d %H:%M}" if release.created_at else "unknown",
                    release.state,
                    release.changes,
                    cost_line(release.cost) if release.cost is not None else "",
                )
                for release in found
            ],
            numbers=["videos", "images", "boxes"],
        )
    damaged = [release.version for release in found if release.problems]
    if damaged:
        raise DataMinerError(f"project {project!r}: {', '.join(damaged)} damaged; materialize `dataset` with force")
