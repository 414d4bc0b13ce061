"""`data-miner export`: a release as a folder of its own."""

from pathlib import Path
from typing import Annotated

import typer

from data_miner_dagster.cli.options import ConfigOption, RootOption, opened_existing


def export(
    project: Annotated[str, typer.Argument(help="The project's name.")],
    destination: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    version: Annotated[str | None, typer.Option("--version", help="Default: the latest not withdrawn.")] = None,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Copy a release (COCO, YOLO, Parquet and images together) out of the root, every file checked."""
    from data_miner_dagster.operations.exporting import export_release

    chosen = export_release(opened_existing(root, config), project, destination.absolute(), version=version)
    typer.echo(f"release {chosen} of {project} is in {destination}")
