"""The command `rebuild`: rebuild a release byte for byte from the stored files."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    ProfileOption,
    ProjectArgument,
    RootOption,
    opened_existing,
    said_again,
)
from data_miner_dagster.cli.output import echo

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform


def rebuild(  # noqa: PLR0913 - an option of a command is a parameter of its function
    project: ProjectArgument,
    to: Annotated[Path, typer.Option("--to", help="A new or empty folder.")],
    version: Annotated[
        str | None, typer.Option("--version", help="The release to rebuild, such as v001. Default: the current one.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="The release.json of a release that no longer exists under the root."),
    ] = None,
    any_versions: Annotated[
        bool,
        typer.Option(
            "--any-versions", help="Try even if the versions of packages have changed. Every byte is still compared."
        ),
    ] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """Rebuild a release byte for byte from the stored files, or list every file that is missing or has changed."""
    from data_miner_dagster.cli.progress import progress_lines
    from data_miner_dagster.domain.errors import DataMinerError
    from data_miner_dagster.domain.phrases import counted
    from data_miner_dagster.operations.releasing.exporting import check_export_folder
    from data_miner_dagster.operations.releasing.rebuilding import InputsMissingError, plan_rebuild, rebuild_release

    platform = opened_existing(root, config, profile)
    check_export_folder(platform, to.expanduser())  # checked first, because examining every file of the release is slow
    with progress_lines(platform.config.logging):
        plan = plan_rebuild(platform, project, version=version, manifest=manifest, any_versions=any_versions)
        try:
            outcome = rebuild_release(platform, plan, to.expanduser())
        except InputsMissingError as error:
            for line in error.lacks:
                echo(line, err=True)
            raise DataMinerError(
                f"release {project} {plan.version} cannot be rebuilt: "
                f"{counted(len(error.lacks), 'input is', 'inputs are')} missing or changed; follow the remedies "
                "listed above, then run the command again (nothing was written)"
            ) from None
    echo(
        f"{project} {outcome.version}: {counted(outcome.num_images, 'image')}, "
        f"{counted(outcome.num_boxes, 'box', 'boxes')}, "
        f"identical byte for byte → {outcome.folder}"
    )


def unfinished_rebuilds(platform: "Platform") -> list[dict[str, object]]:
    """Return a row for each folder left behind by an unfinished rebuild, with the command that continues the rebuild.

    The command starts again from the beginning if the versions of packages have changed. Folders whose command is
    unknown are omitted.
    """
    from data_miner_dagster.domain.sizes import size_text
    from data_miner_dagster.operations.releasing.unfinished import find_unfinished_rebuilds

    told: list[dict[str, object]] = []
    for left in find_unfinished_rebuilds(platform):
        if not left.arguments:  # `inspect_platform` reports it
            continue
        command = f"data-miner rebuild {shlex.join(left.arguments)} --to DIR{said_again(with_config=True)}"
        does = (
            "continues it"
            if left.is_of_these_packages
            else "starts again from the beginning, since the versions of packages have changed"
        )
        line = (
            f"an unfinished rebuild of {left.project} {left.version} has left {left.path} "
            f"({size_text(left.size_bytes)}) behind; `{command}` {does}; if it is not needed, remove the folder"
        )
        place = {"folder": str(left.path), "size_bytes": left.size_bytes}
        told.append({**place, "project": left.project, "version": left.version, "command": command, "line": line})
    return told
