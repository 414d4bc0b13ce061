"""Records of students: networks that are trained on a release to test whether its labels can be learned.

Belongs here: records. Does not belong here: training (models/training.py), or files (operations/training/).
"""

from dataclasses import dataclass
from typing import Final

from data_miner_dagster.domain.phrases import counted

CHECKPOINT_NAME: Final = "student.pt"
EXPORTED_NAME: Final = "student.onnx"
"""The exported network, which can serve as a detector. Training can be continued from `CHECKPOINT_NAME`."""
LICENCE: Final = "AGPL-3.0"
"""The licence of the training software, which also applies to the students unless a commercial licence was bought."""
DEFAULT_NETWORK: Final = "yolo11n"
DEFAULT_EPOCHS: Final = 50
DEFAULT_IMAGE_SIZE: Final = 320
DEFAULT_BATCH_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The settings for training a student. The same settings and release give the same student on the same machine."""

    network: str = DEFAULT_NETWORK
    """An Ultralytics architecture such as `yolo11n`, or a YAML file that describes one. Initial weights are random."""
    epochs: int = DEFAULT_EPOCHS
    image_size: int = DEFAULT_IMAGE_SIZE
    batch_size: int = DEFAULT_BATCH_SIZE
    learning_rate: float | None = None
    """The initial learning rate, or None to let Ultralytics choose it."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """The quality of a network after one pass over the training images, or before the first pass (number 0)."""

    number: int  # from 1; 0 is the untrained network
    loss: float | None  # the sum of the box, class and distribution losses; None for the untrained network
    map50: float
    map50_95: float


@dataclass(frozen=True, slots=True)
class Student:
    """A trained network, with its inputs and its quality on `val`."""

    project: str
    version: str  # the version of the release
    fingerprint: str  # depends on the release, the settings and the versions of the software
    settings: TrainingSettings
    class_names: tuple[str, ...]
    num_train_images: int
    num_val_images: int
    num_images: int  # images in all splits
    curve: tuple[Epoch, ...]  # the untrained network first
    best_epoch: int  # the epoch whose weights were kept
    sha256: dict[str, str]  # by file name

    @property
    def untrained(self) -> Epoch:
        """The entry of the training curve for the network before its first training step."""
        return self.curve[0]

    @property
    def best(self) -> Epoch:
        """The entry of the training curve for the epoch whose weights were kept."""
        return self.curve[self.best_epoch]

    @property
    def name(self) -> str:
        """The student's name in the model registry."""
        return student_name(self.project, self.version)

    @property
    def line(self) -> str:
        """A summary of the training, on one line."""
        return (
            f"mAP50 on val from {self.untrained.map50:.3f} untrained to {self.best.map50:.3f} after "
            f"{self.best_epoch} of {counted(self.settings.epochs, 'epoch')}"
        )


def student_name(project: str, version: str | None = None) -> str:
    """Return the name of a student in the model registry. Without a version, it names the project's latest student."""
    return f"student-{project}" + (f"-{version}" if version else "")
