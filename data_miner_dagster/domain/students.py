"""What is known of a network that was trained on a release, to see whether the release teaches.

Belongs here: records. Does not belong here: training (models/training.py), files (operations/training/).
"""

from dataclasses import dataclass
from typing import Final

from data_miner_dagster.domain.phrases import counted

CHECKPOINT_NAME: Final = "student.pt"
EXPORTED_NAME: Final = "student.onnx"
"""The files of a student: the one to train on with, and the one that is a detector."""
LICENCE: Final = "AGPL-3.0"
"""Of the software that trains, and so of what it trains, unless another was bought."""
DEFAULT_NETWORK: Final = "yolo11n"
DEFAULT_EPOCHS: Final = 50
DEFAULT_IMAGE_SIZE: Final = 320
DEFAULT_BATCH_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a student is trained. The same settings and release give the same student on the same machine."""

    network: str = DEFAULT_NETWORK
    """An architecture of Ultralytics' such as `yolo11n`, or a YAML file that describes one. Its weights are random."""
    epochs: int = DEFAULT_EPOCHS
    image_size: int = DEFAULT_IMAGE_SIZE
    batch_size: int = DEFAULT_BATCH_SIZE
    learning_rate: float | None = None
    """None: Ultralytics' own choice."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training images, and what the network can do after it."""

    number: int  # from 1; 0 is the untrained network
    loss: float | None  # of boxes, classes and their distribution, together; None for the untrained network
    map50: float
    map50_95: float


@dataclass(frozen=True, slots=True)
class Student:
    """A trained network: what it was made from, and what it can do on `val`."""

    project: str
    version: str  # of the release
    fingerprint: str  # of release, settings and versions
    settings: TrainingSettings
    class_names: tuple[str, ...]
    num_train_images: int
    num_val_images: int
    num_images: int  # of all splits
    curve: tuple[Epoch, ...]  # the untrained network first
    best_epoch: int  # the one whose weights were kept
    sha256: dict[str, str]  # file to sha256

    @property
    def untrained(self) -> Epoch:
        """The network before its first step."""
        return self.curve[0]

    @property
    def best(self) -> Epoch:
        """The epoch whose weights were kept."""
        return self.curve[self.best_epoch]

    @property
    def name(self) -> str:
        """Its name among the models."""
        return student_name(self.project, self.version)

    @property
    def line(self) -> str:
        """What training did, in one line."""
        return (
            f"mAP50 on val from {self.untrained.map50:.3f} untrained to {self.best.map50:.3f} after "
            f"{self.best_epoch} of {counted(self.settings.epochs, 'epoch')}"
        )


def student_name(project: str, version: str | None = None) -> str:
    """Return the name of a student among the models; without a version, that of the latest of a project."""
    return f"student-{project}" + (f"-{version}" if version else "")
