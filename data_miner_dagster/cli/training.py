"""The command `train-check`: train a small network on a release to check its annotations."""

from shlex import quote
from typing import Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    JsonOption,
    ProfileOption,
    ProjectArgument,
    RootOption,
    opened_existing,
    said_again,
)
from data_miner_dagster.cli.output import echo, print_json
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.students import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_EPOCHS,
    DEFAULT_IMAGE_SIZE,
    DEFAULT_NETWORK,
)


def train_check(  # noqa: PLR0913 - an option of a command is a parameter of its function
    project: ProjectArgument,
    version: Annotated[str | None, typer.Option("--version", help="The release. Default: the current one.")] = None,
    network: Annotated[
        str, typer.Option("--network", help="An Ultralytics architecture, or a YAML file that describes one.")
    ] = DEFAULT_NETWORK,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="The number of epochs.")] = DEFAULT_EPOCHS,
    image_size: Annotated[
        int, typer.Option("--image-size", min=32, help="The longer side of the images, in pixels.")
    ] = (DEFAULT_IMAGE_SIZE),
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="The number of images per step.")
    ] = DEFAULT_BATCH_SIZE,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=0, help="The learning rate. Default: Ultralytics chooses.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Train again even if nothing has changed.")] = False,
    json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """Train a small network on a release, to test whether its annotations can be learned and to find dubious ones."""
    from data_miner_dagster.cli.interrupts import ending_on_interrupt
    from data_miner_dagster.cli.progress import progress_lines
    from data_miner_dagster.domain.students import TrainingSettings
    from data_miner_dagster.operations.training import train_check as operation

    platform = opened_existing(root, config, profile)
    settings = TrainingSettings(network, epochs, image_size, batch_size, learning_rate)
    with ending_on_interrupt(), progress_lines(platform.config.logging, on_stderr=json):
        outcome = operation.train_check(platform, project, settings, version=version, force=force)
    if json:
        print_json({"counts": dict(outcome.counts), **outcome.metadata})
        return
    echo(f"{project} {outcome.metadata['version']}: {outcome.metadata['line']} → {outcome.metadata['folder']}")
    number = outcome.counts["frames in dispute"]
    echo(f"the student disagrees with the annotations of {counted(number, 'frame')}")
    if number:
        again = said_again(with_config=True)
        echo(f"next: run `data-miner review {project}{again}`, which shows these frames in the queue `student`")
    student, place = outcome.metadata["student"], quote(str(platform.root))
    echo(
        f"{student} is now a detector: `data-miner --root {place} try detect FOLDER CLASS... --detector {student}` "
        "tries it on a folder of images"
    )
