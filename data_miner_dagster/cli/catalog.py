"""Commands that create and fill the catalog: `init-db`, `populate`, `add-video`."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from data_miner_dagster.cli.options import ConfigOption, ProfileOption, ProjectArgument, RootOption, opened, said_again
from data_miner_dagster.cli.output import echo, print_table
from data_miner_dagster.cli.upgrading import tell_upgrade
from data_miner_dagster.domain.phrases import phrase_of


def init_db(root: RootOption = None, config: ConfigOption = None) -> None:
    """Create the catalog's tables, or upgrade them to this version. The command can be repeated."""
    from data_miner_dagster.catalog.migrations import head_revision

    platform = opened(root, config)
    platform.may_begin_catalog = True
    tell_upgrade(platform)
    url = platform.database.engine.url.render_as_string(hide_password=True)
    echo(f"catalog {url} is at revision {head_revision()}")
    echo(
        "next: run `data-miner init` to write a project file, and "
        f"`data-miner run --config FILE{said_again()}` to build a release from it"
    )


def populate(
    config: Annotated[Path, typer.Option("--config", "-c", help="The project file.")],
    root: RootOption = None,
    profile: ProfileOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="List every source again, even if nothing has changed.")
    ] = False,
) -> None:
    """Register a project file, and list its sources to find videos. Rejected candidates are recorded with a reason."""
    from data_miner_dagster.operations.sourcing.list_sources import list_sources
    from data_miner_dagster.operations.sourcing.registering import register_project_file

    platform = opened(root, config, profile)
    tell_upgrade(platform)
    registered = register_project_file(platform, config)
    outcome = list_sources(platform, registered.name, force=force)
    echo(f"project {registered.name}: {'new configuration' if registered.is_changed else 'unchanged'}")
    counts = [(phrase_of(name), number) for name, number in outcome.counts.items()]
    print_table(["candidates", "count"], counts, numbers=["count"])
    for name, message in outcome.metadata.items():
        echo(f"{name}: {message}", err=True)
    again = said_again()
    echo(f"next: run `data-miner run --config {quote(str(config))}{again}`, or `data-miner up{again}`")


def add_video(
    project: ProjectArgument,
    address: Annotated[str, typer.Argument(help="A URL, or a local file or folder.")],
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a video, or all videos on a page, to a project, bypassing its sources and rules."""
    from data_miner_dagster.operations.sourcing.adding import add_video as add

    platform = opened(root, config)
    tell_upgrade(platform)
    for key, is_new in add(platform, project, address):
        echo(f"{key} was added to {project}" if is_new else f"{key} is in {project}, where it was already recorded")
    echo(
        f"next: run `data-miner run --config FILE{said_again()}` for a new release; a running `data-miner up` does "
        "this automatically"
    )
