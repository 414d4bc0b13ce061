"""Commands for existing releases: `export`, `publish`, `releases`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    ProfileOption,
    ProjectArgument,
    RootOption,
    YesOption,
    confirm,
    opened_existing,
    said_again,
)
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.progress import steps_on_stderr
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.export.formats import ROUND_TRIP_FORMATS, WHOLE, export_help

if TYPE_CHECKING:
    from data_miner_dagster.operations.copies.publishing import SentRelease

_MOST_LEFT_OUT = 10


def export(
    project: ProjectArgument,
    to: Annotated[
        str, typer.Option("--to", help="A new or empty folder, or a bucket: s3://bucket/folder, gs://..., az://...")
    ],
    format: Annotated[str, typer.Option("--format", "-f", help=export_help())] = WHOLE,
    version: Annotated[
        str | None, typer.Option("--version", help="The release to export, such as v001. Default: the current one.")
    ] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """Export a release, or one format of it, with its images to a place outside the root, and verify every file."""
    from data_miner_dagster.export.datasheet import DATASHEET_FILE
    from data_miner_dagster.operations.releasing.exporting import export_release

    platform = opened_existing(root, config, profile)
    if "://" in to:
        from data_miner_dagster.operations.copies.publishing import export_to_bucket

        with steps_on_stderr():
            sent = export_to_bucket(platform, project, format=format, to=to, version=version)
        _tell_sent(project, sent)
        return
    with steps_on_stderr():
        outcome = export_release(platform, project, format=format, to=Path(to).expanduser(), version=version)
    echo(
        f"{project} {outcome.version}: {counted(outcome.num_images, 'image')}, "
        f"{counted(outcome.num_boxes, 'box', 'boxes')} → {outcome.folder}"
    )
    for name, line in list(outcome.left_out.items())[:_MOST_LEFT_OUT]:
        echo(f"left out: {name}: {line}")
    if (num_more := len(outcome.left_out) - _MOST_LEFT_OUT) > 0:
        echo(f"left out: {num_more} more; the log names them")
    if format in ROUND_TRIP_FORMATS:
        again = said_again(with_config=True)
        command = f"data-miner review import {project} FILE --from {format} --version {outcome.version}{again}"
        echo(f"next: correct the labels in {format}, then run `{command}` to import them as verdicts")
    elif (datasheet := outcome.folder / DATASHEET_FILE).is_file():
        echo(f"next: read {datasheet}, then train on the export")


def publish(
    project: ProjectArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to", help="The destination: s3://bucket/folder, gs://..., az://..., or hf://datasets/<owner>/<name>."
        ),
    ],
    version: Annotated[
        str | None, typer.Option("--version", help="The release, such as v001. Default: the current one.")
    ] = None,
    withdraw: Annotated[
        bool,
        typer.Option(
            "--withdraw", help="Remove the release given by --version from the destination --to instead of publishing."
        ),
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Publish a release to a bucket or the Hugging Face Hub, and record the destination so `forget` can find it."""
    from data_miner_dagster.cli.progress import progress_lines
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.operations.copies.publishing import publish_release, withdraw_publication

    platform = opened_existing(root, config)
    if withdraw:
        if version is None:
            raise ConfigError("--withdraw needs the version to remove; add an option such as --version v001")
        if dry_run:
            echo(f"{project} {version} would be removed from {to}")
            return
        confirm(f"Remove {project} {version} from {to}?", yes=yes)
        echo(
            f"{project} {version}: {counted(withdraw_publication(platform, project, to, version), 'file')} "
            f"removed from {to}"
        )
        return
    with progress_lines(platform.config.logging):
        sent = publish_release(platform, project, to, version=version, dry_run=dry_run)
    _tell_sent(project, sent, dry_run=dry_run)


def _tell_sent(project: str, sent: "SentRelease", *, dry_run: bool = False) -> None:
    there = f", {sent.files.num_there:,} existed already" if sent.files.num_there else ""
    verb = "would be sent" if dry_run else "sent and verified"
    size = size_text(sent.files.num_bytes)
    echo(f"{project} {sent.version}: {counted(sent.files.num_files, 'file')}, {size}, {verb}{there} → {sent.address}")


def releases(
    project: ProjectArgument,
    check: Annotated[bool, typer.Option("--check", help="Verify every file against the manifest.")] = False,
    as_json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """List a project's releases with their contents. With --check, verify their files."""
    from data_miner_dagster.domain.errors import DataMinerError
    from data_miner_dagster.operations.releasing.standing import list_releases
    from data_miner_dagster.stages.costs import cost_line

    found = list_releases(opened_existing(root, config, profile), project, check=check)
    if as_json:
        print_json([release.as_json() for release in found])
    else:
        print_table(
            ["release", "videos", "images", "boxes", "created", "state", "changes", "cost"],
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
    for release in found:
        if release.problems and release.num_videos is None:  # its manifest, which the next build would need
            raise DataMinerError(release.problems[0])
    damaged = [release.version for release in found if release.problems]
    if damaged:
        what, are, them = ("release", "is", "it") if len(damaged) == 1 else ("releases", "are", "them")
        raise DataMinerError(
            f"{what} {', '.join(damaged)} of project {project!r} {are} damaged; restore {them} from a backup (if the "
            f"project has not changed since the current release, `data-miner run --config FILE --force{said_again()}` "
            "writes that release again)"
        )
