"""Train a small network on a release, and compare its detections with the annotations, for `data-miner train-check`.

The trained network is called the student.
"""

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.fingerprints import fingerprint_of, sha256_of_file
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.splits import split_role
from data_miner_dagster.domain.students import (
    CHECKPOINT_NAME,
    EXPORTED_NAME,
    LICENCE,
    Epoch,
    Student,
    TrainingSettings,
)
from data_miner_dagster.domain.versions import TRAINING_VERSION
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.export.records import IMAGES_FOLDER
from data_miner_dagster.export.yolo import LABELS_FOLDER
from data_miner_dagster.models.networks import network_file, network_of
from data_miner_dagster.operations.own_students import student_entry
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.operations.releasing.exporting import whole_release
from data_miner_dagster.operations.releasing.standing import existing_version
from data_miner_dagster.operations.training.disagreements import NUM_FRAMES_KEY, write_disagreements
from data_miner_dagster.operations.training.jobs import JOBS_MODULE
from data_miner_dagster.storage.atomic import atomic_folder, sweep_partials
from data_miner_dagster.storage.students import CURVE_FILE, read_student, write_student
from data_miner_dagster.storage.tables import read_fingerprint, read_metadata
from data_miner_dagster.workers.errors import WorkerDiedError, WorkerFaultError
from data_miner_dagster.workers.pool import WorkerPool

_WORK: Final = "work"
_DATA: Final = "data"
_DATA_FILE: Final = "data.yaml"
_END_OF_JPEG: Final = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class _Release:
    """The folder and the manifest of a release to train on."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def project(self) -> str:
        return str(self.manifest["project"])

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    def num_images(self, role: str) -> int:
        """Return the number of images in the splits of a role: `train`, `val` or `test`."""
        return self._sum("images_by_split", role)

    def num_boxes(self, role: str) -> int:
        """Return the number of boxes in the splits of a role."""
        return self._sum("boxes_by_split", role)

    def _sum(self, name: str, role: str) -> int:
        counts: Mapping[str, int] = self.manifest[name]
        return sum(number for split, number in counts.items() if split_role(split) == role)


def train_check(
    platform: Platform,
    project: str,
    settings: TrainingSettings | None = None,
    *,
    version: str | None = None,
    force: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
) -> ProjectOutcome:
    """Train a student on a release, store it as a detector, and list the frames whose annotations it disagrees with.

    An existing student of the same release and settings is reused unless `force` is set. An interrupted or killed
    attempt stores no student, and the next one starts from scratch.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        settings: the settings of training, or None for the defaults.
        version: the version of the release, or None for the current one, or the latest if none is current.
        force: train even if the student exists.
        on_epoch: called after each epoch, and once before the first epoch for the untrained network. If it raises an
            exception, the training ends.

    Raises:
        ConfigError: the project, release or network does not exist; `train` or `val` of the release has no
            images or no boxes; or `platform.models.allowed_licences` excludes the licence of Ultralytics.
        ClaimHeldError: another process is training on a release of this project.
        ModelError: training fails, or the student cannot be loaded.
        DataMinerError: the release is damaged or was withdrawn, or the record of its existing student is damaged.
    """
    settings = settings or TrainingSettings()
    network_of(settings.network)  # refuses a wrong name before anything else is done
    release = _release_of(platform, project, version)
    folder = platform.layout.student_folder(project, release.version)
    fingerprint = _fingerprint(release, settings)
    with platform.hold_shard(f"student/{project}"):
        sweep_partials(folder.parent)
        known = None if force else read_student(folder)
        status = OutcomeStatus.REUSED if known and known.fingerprint == fingerprint else OutcomeStatus.DONE
        if known is None or status is OutcomeStatus.DONE:
            with atomic_folder(folder) as partial:
                known = _train(platform, release, settings, fingerprint, partial, on_epoch)
        table = platform.layout.student_disagreements(project)
        if status is OutcomeStatus.DONE or read_fingerprint(table) != fingerprint:
            write_disagreements(platform, release.folder, known, student_entry(folder), table)
    return _outcome(platform, known, status, folder)


def _release_of(platform: Platform, project: str, version: str | None) -> _Release:
    allowed = {name.casefold() for name in platform.config.models.allowed_licences}
    if allowed and LICENCE.casefold() not in allowed:
        raise ConfigError(
            f"train-check uses Ultralytics' software under the licence {LICENCE}, but platform.models.allowed_licences "
            f"contains only {', '.join(platform.config.models.allowed_licences)}; add {LICENCE} to that list"
        )
    version = existing_version(platform, project, version)
    folder = whole_release(platform, project, version)
    release = _Release(folder, read_manifest(folder) or {})
    for what, number_of, remedy in (
        ("images", release.num_images, "add videos"),
        ("boxes", release.num_boxes, "add videos, change the project's classes or thresholds"),
    ):
        for role, purpose in (("train", "train on"), ("val", "evaluate on")):
            if not number_of(role):
                raise ConfigError(
                    f"release {project} {version} has no {what} in the split {role!r} to {purpose}; "
                    f"{remedy}, or change `releasing.splits`, then build a new release"
                )
    return release


def _fingerprint(release: _Release, settings: TrainingSettings) -> str:
    file = network_file(settings.network)
    described = settings.network if file is None else sha256_of_file(file)
    return fingerprint_of(
        {
            "version": TRAINING_VERSION,
            "release": release.manifest["checksums"]["sha256"],
            "settings": {**asdict(settings), "network": described},
        }
    )


def _train(
    platform: Platform,
    release: _Release,
    settings: TrainingSettings,
    fingerprint: str,
    folder: Path,
    on_epoch: Callable[[Epoch], None],
) -> Student:
    work = folder / _WORK
    work.mkdir()
    data = _write_data(release, work / _DATA)
    curve: list[Epoch] = []
    steps = Steps(f"student of {release.project}: has trained", "epochs", settings.epochs, platform)

    def note(_name: str, arguments: dict[str, Any]) -> None:
        epoch = Epoch(**arguments)
        curve.append(epoch)
        _write_curve(folder / CURVE_FILE, curve)
        steps.reach(epoch.number)
        platform.check_run()
        on_epoch(epoch)

    arguments = {
        "folder": str(work),
        "data": str(data),
        "settings": {**asdict(settings), "network": str(network_file(settings.network) or settings.network)},
        "device": platform.config.models.device,
    }
    with _process() as pool:
        try:
            answer = pool.call("train", arguments, on_call=note)
        except (WorkerDiedError, WorkerFaultError) as error:
            who = "the training process " if isinstance(error, WorkerDiedError) else ""
            raise ModelError(
                f"training on release {release.project} {release.version} failed: {who}{error}; no new student "
                "was stored; fix the cause, then run the command again"
            ) from error
    for name in (CHECKPOINT_NAME, EXPORTED_NAME):
        (work / name).replace(folder / name)
    shutil.rmtree(work)
    student = Student(
        project=release.project,
        version=release.version,
        fingerprint=fingerprint,
        settings=settings,
        class_names=tuple(release.manifest["classes"]),
        num_train_images=release.num_images("train"),
        num_val_images=release.num_images("val"),
        num_images=release.manifest["num_images"],
        curve=tuple(curve),
        best_epoch=answer["best_epoch"],
        sha256={name: sha256_of_file(folder / name) for name in (CHECKPOINT_NAME, EXPORTED_NAME)},
    )
    write_student(folder, student)
    return student


@contextmanager
def _process() -> Iterator[WorkerPool]:
    """Yield a pool of one training process. The process is killed when the block ends, even if it is still working."""
    with WorkerPool(JOBS_MODULE, size=1) as pool:
        yield pool


def _write_data(release: _Release, folder: Path) -> Path:
    """Write a data set for Ultralytics from a release, and return the path of its `data.yaml`.

    The data set is a separate folder, since Ultralytics writes its cache beside the labels. Labels are copied. Images
    are linked one by one, because Ultralytics resolves links to folders when it searches for labels.
    """
    shutil.copytree(release.folder / LABELS_FOLDER, folder / LABELS_FOLDER)
    paths: dict[str, list[str]] = {"train": [], "val": []}
    for split, number in release.manifest["images_by_split"].items():
        shutil.copytree(
            release.folder / IMAGES_FOLDER / split,
            folder / IMAGES_FOLDER / split,
            copy_function=_link,
            ignore=shutil.ignore_patterns("*.parquet"),
        )
        if number and split_role(split) in paths:
            paths[split_role(split)].append(f"{IMAGES_FOLDER}/{split}")
    content = {"path": str(folder), **paths, "names": dict(enumerate(release.manifest["classes"]))}
    (folder / _DATA_FILE).write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return folder / _DATA_FILE


def _link(source: str, target: str) -> None:
    """Link an image, or copy it if a link is impossible.

    A file without a JPEG's end marker is copied too, since Ultralytics rewrites such files, and would change the
    release through a link.
    """
    with Path(source).open("rb") as file:
        file.seek(-len(_END_OF_JPEG), os.SEEK_END)
        is_left_alone = file.read() == _END_OF_JPEG
    if is_left_alone:
        with suppress(OSError):  # the folders are on different file systems, or hard links are not supported
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def _write_curve(path: Path, curve: list[Epoch]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["number", "loss", "map50", "map50_95"])
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in curve)


def _outcome(platform: Platform, student: Student, status: OutcomeStatus, folder: Path) -> ProjectOutcome:
    metadata = read_metadata(platform.layout.student_disagreements(student.project))
    return ProjectOutcome(
        project=student.project,
        status=status,
        fingerprint=student.fingerprint,
        counts={
            "training images": student.num_train_images,
            "validation images": student.num_val_images,
            "epochs": student.settings.epochs,
            "frames in dispute": int(metadata.get(NUM_FRAMES_KEY, 0)),
        },
        metadata={
            "version": student.version,
            "student": student.name,
            "map50_untrained": student.untrained.map50,
            "map50": student.best.map50,
            "map50_95": student.best.map50_95,
            "line": student.line,
            "folder": str(folder),
        },
    )
