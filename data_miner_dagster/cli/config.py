"""The `data-miner config` commands: show the keys, check a file, and show the resources that runs request."""

import os
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from data_miner_dagster.cli.options import JsonOption, ProfileOption, RootOption, platform_options, said_again
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.config.environment import ROOT_VARIABLE
from data_miner_dagster.domain.phrases import counted

app = typer.Typer(
    help="Show the configuration keys, check a file, and show the resources that runs request.", no_args_is_help=True
)


@app.command()
def schema(
    json: Annotated[bool, typer.Option("--json", help="Print a JSON Schema, for editors.")] = False,
) -> None:
    """Show every configuration key with its type, default and meaning."""
    from data_miner_dagster.config.reference import reference_text
    from data_miner_dagster.config.settings import ProjectFile

    if json:
        print_json(ProjectFile.model_json_schema())
    else:
        echo(reference_text())


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A project file, or one with only a `platform` section.")],
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Check a file without changing anything. Mistakes are reported on one line.

    The file's own settings must allow the licences of its models. With a root or a profile, the models must also exist
    and know the classes, and frames must be sampled in the same way as the frames under the root.
    """
    from data_miner_dagster.config.loading import is_platform_file, load_platform_config, load_project_file
    from data_miner_dagster.models.provider import ModelProvider
    from data_miner_dagster.operations.preflight import check_against_platform, check_paths, folders_without_videos

    if is_platform_file(file):
        ModelProvider(load_platform_config(file).models).check_allowed()
        echo(f"{file} has valid platform settings and no project")
        return
    loaded = load_project_file(file)
    check_paths(loaded.project, file.absolute().parent)
    if loaded.platform.models.allowed_licences:
        models = ModelProvider(loaded.platform.models)
        detection = loaded.detection
        models.check_allowed(detection.detectors, detection.verifier_name, detection.tracker_model)
    if root is not None or profile is not None or os.environ.get(ROOT_VARIABLE):
        check_against_platform(platform_options(root, file, profile).open(), loaded.project)
    num_classes = len(loaded.detection.classes)
    sources, classes = counted(len(loaded.sourcing.sources), "source"), counted(num_classes, "class", "classes")
    for remark in folders_without_videos(loaded.project, file.absolute().parent):
        echo(f"warning: {remark}", err=True)
    echo(f"{file} is valid: project {loaded.name}, {sources}, {classes}")
    echo(f"next: run `data-miner run --config {quote(str(file))}{said_again()}`")


@app.command()
def cluster(
    file: Annotated[Path, typer.Argument(help="A file with a `platform` section.")],
    as_json: JsonOption = False,
) -> None:
    """Show the cluster resources that a run in each pool requests, and the tag that passes them to the launcher."""
    from data_miner_dagster.config.cluster import POOL_NAMES
    from data_miner_dagster.config.loading import load_platform_config
    from data_miner_dagster.launching.tags import ASKED_TAG, run_tags

    settings = load_platform_config(file).cluster
    tags = {pool: run_tags(settings, pool) for pool in POOL_NAMES}
    if as_json:
        print_json({"launcher": settings.launcher, "pools": tags})
    elif settings.launcher == "local":
        echo(f"{file}: platform.cluster.launcher is local, so runs request no resources")
    else:
        print_table(
            ("pool", "a run requests", "tag"),
            [
                (pool, of_run[ASKED_TAG], "  ".join(f"{key}: {of_run[key]}" for key in of_run if key != ASKED_TAG))
                for pool, of_run in tags.items()
            ],
        )
