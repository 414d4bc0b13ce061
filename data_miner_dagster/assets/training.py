"""The asset `student`: a small network trained on a release. The asset is never requested automatically."""

import dagster as dg

from data_miner_dagster.assets.outcomes import OWNERS, materialize_project
from data_miner_dagster.assets.previews import student_metadata
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage
from data_miner_dagster.domain.students import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_EPOCHS,
    DEFAULT_IMAGE_SIZE,
    DEFAULT_NETWORK,
)
from data_miner_dagster.domain.versions import TRAINING_VERSION
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


class TrainingConfig(dg.Config):
    """The run configuration of the asset `student`."""

    network: str = DEFAULT_NETWORK
    """An Ultralytics architecture, or a YAML file that describes one."""
    epochs: int = DEFAULT_EPOCHS
    """The number of passes over the training images."""
    image_size: int = DEFAULT_IMAGE_SIZE
    """The longer side of the images, in pixels."""
    batch_size: int = DEFAULT_BATCH_SIZE
    """The number of images per step."""
    learning_rate: float = 0.0
    """The initial learning rate, or 0 to let Ultralytics choose it."""
    force: bool = False
    """Whether to train again even if nothing has changed."""


@dg.asset(
    partitions_def=PROJECTS,
    deps=[PROJECT_WAY[ProjectStage.RELEASING].asset],
    group_name="training",
    kinds={"ultralytics", "onnx"},
    owners=OWNERS,
    tags={"scope": "project"},
    pool="training",
    code_version=str(TRAINING_VERSION),
)
def student(
    context: dg.AssetExecutionContext, config: TrainingConfig, platform: PlatformResource
) -> dg.MaterializeResult[None]:
    """A small network trained on the latest release, its quality, and the frames where it disagrees with annotations.

    The network can then be used as a detector. Materialize the asset by hand; no build waits for it.
    """
    from data_miner_dagster.domain.students import TrainingSettings
    from data_miner_dagster.operations.training.train_check import train_check

    opened = platform.open()
    rate = config.learning_rate or None
    settings = TrainingSettings(config.network, config.epochs, config.image_size, config.batch_size, rate)
    return materialize_project(
        context,
        lambda project: train_check(opened, project, settings, force=config.force),
        lambda project: student_metadata(opened, project),
    )
