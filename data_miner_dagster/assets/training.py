"""The asset `student`: a small network trained on a release. Nothing requests it automatically."""

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
    """Run configuration of the asset."""

    network: str = DEFAULT_NETWORK
    """An architecture of Ultralytics', or a YAML file that describes one."""
    epochs: int = DEFAULT_EPOCHS
    """How often the training images are passed through."""
    image_size: int = DEFAULT_IMAGE_SIZE
    """The longer side in pixels."""
    batch_size: int = DEFAULT_BATCH_SIZE
    """Images per step."""
    learning_rate: float = 0.0
    """0: Ultralytics chooses."""
    force: bool = False
    """Train again although nothing has changed."""


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
    """A small network trained on the latest release: how far it gets, and where it disagrees with the labels.

    It is a detector by its name from then on. Materialize it by hand; no build waits for it.
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
