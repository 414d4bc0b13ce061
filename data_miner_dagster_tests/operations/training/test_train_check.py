"""A tiny network learns squares and discs from a release, becomes a detector, and finds missing labels."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_miner_dagster.assets.outcomes import RESULT
from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.config.environment import MODEL_CACHE_VARIABLE, PROFILE_VARIABLE, ROOT_VARIABLE
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import ClassPrompts, OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.students import Student, TrainingSettings
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, Verdict, VerdictWord
from data_miner_dagster.jobs import TRAIN_STUDENT
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reviewing.review import open_review
from data_miner_dagster.operations.training.students import latest_student
from data_miner_dagster.operations.training.train_check import train_check
from data_miner_dagster_tests.operations.releasing.release_folders import files_of
from data_miner_dagster_tests.support import sample_project
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project
from data_miner_dagster_tests.support.verdicts import NOON

pytestmark = [pytest.mark.slow(20), pytest.mark.timeout(1200)]  # training is slow on an overloaded machine

SIDE = 64
FRAMES = 28
VIDEOS = tuple(f"files-{letter}" for letter in "abcdefghij")
UNLABELLED = {("files-a", index) for index in (3, 9, 21)}
"""Frames whose label was removed, for the student to find."""
NETWORK = """
nc: 2
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [48, 3, 2]]
  - [-1, 1, C2f, [48, True]]
head:
  - [[3], 1, Detect, [nc]]
"""
Box = tuple[str, float, tuple[float, float, float, float]]


def _picture(generator: np.random.Generator, name: str) -> tuple[Image.Image, Box]:
    """Return a picture of noise with one shape on it, and the shape's box."""
    noise = generator.integers(90, 130, (48, SIDE, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    size = int(generator.integers(16, 28))
    x, y = int(generator.integers(0, SIDE - size)), int(generator.integers(0, 48 - size))
    corners = (x, y, x + size - 1, y + size - 1)
    if name == "square":
        ImageDraw.Draw(image).rectangle(corners, fill=(240, 20, 20))
    else:
        ImageDraw.Draw(image).ellipse(corners, fill=(20, 240, 240))
    return image, (name, 0.9, (float(x), float(y), float(x + size), float(y + size)))


@dataclass(frozen=True)
class Trained:
    """A root with a release, and the result of training on that release."""

    platform: Platform
    outcome: ProjectOutcome
    student: Student
    release_before: dict[str, bytes]
    network: Path
    elsewhere: Path  # the caller's working directory and home

    @property
    def settings(self) -> TrainingSettings:
        return TrainingSettings(str(self.network), epochs=2, image_size=SIDE, batch_size=8, learning_rate=0.01)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("training")
    generator = np.random.default_rng(0)
    pictures: dict[tuple[str, int], Image.Image] = {}
    videos = []
    for key in VIDEOS:
        boxes = {}
        for index in range(FRAMES):
            pictures[key, index], box = _picture(generator, "square" if generator.random() < 0.5 else "disc")
            boxes[index] = [] if (key, index) in UNLABELLED else [box]
        videos.append(SampleVideo(key, num_frames=FRAMES, boxes=boxes))
    seeds = {sample_project.seed_of(key, index): picture for (key, index), picture in pictures.items()}
    platform = build_project(
        folder / "root",
        videos=videos,
        picture_of=seeds.__getitem__,
        detection={"classes": {"square": [], "disc": []}},
    )
    release_project(platform, "cyclists")
    network = folder / "tiny.yaml"
    network.write_text(NETWORK)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        patch.setenv("HOME", str(elsewhere))
        patch.setenv(MODEL_CACHE_VARIABLE, str(folder / "models"))
        patch.setenv("OMP_NUM_THREADS", "1")  # threads cost more than they gain with a network of this size
        release = platform.layout.release_folder("cyclists", "v001")
        before = files_of(release)
        leftover = platform.layout.students_folder("cyclists") / ".partial-0123456789ab-v001"
        leftover.mkdir(parents=True)  # left by a process that was killed
        settings = TrainingSettings(str(network), epochs=2, image_size=SIDE, batch_size=8, learning_rate=0.01)
        outcome = train_check(platform, "cyclists", settings)
    student = latest_student(platform, "cyclists")
    assert student is not None
    yield Trained(platform, outcome, student, before, network, elsewhere)
    platform.database.dispose()


def test_train_check__the_network_learns(trained: Trained) -> None:
    student = trained.student
    assert student.best.map50 >= 0.3
    assert student.best.map50 >= 3 * student.untrained.map50
    assert [epoch.number for epoch in student.curve] == [0, 1, 2]
    assert student.curve[0].loss is None
    losses = [epoch.loss for epoch in student.curve[1:]]
    assert losses[0] is not None
    assert losses[1] is not None
    assert losses[0] > losses[1]
    assert trained.outcome.counts["training images"] == student.num_train_images > 200
    assert trained.outcome.metadata["map50"] == student.best.map50


def test_train_check__stores_weights_and_curve_and_leaves_all_else_alone(trained: Trained) -> None:
    folder = trained.platform.layout.student_folder("cyclists", "v001")
    assert sorted(files_of(folder)) == ["curve.csv", "student.json", "student.onnx", "student.pt"]
    with (folder / "curve.csv").open(encoding="utf-8") as file:
        assert [row["number"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    assert [entry.name for entry in folder.parent.iterdir()] == ["v001"]
    release = trained.platform.layout.release_folder("cyclists", "v001")
    assert files_of(release) == trained.release_before
    written = [path for path in trained.elsewhere.rglob("*") if path.is_file()]
    assert [path for path in written if ".onnxruntime" not in path.parts] == []  # ONNX Runtime keeps an id there


def test_train_check__the_student_is_a_detector_by_name(trained: Trained) -> None:
    platform = Platform(PlatformConfig.model_validate({"models": {"profile": "lite"}}), trained.platform.root)
    entries = platform.models.config_with_students().registry
    assert sorted(entries) == ["student-cyclists", "student-cyclists-v001"]
    (role,) = platform.models.detectors(["student-cyclists"])
    assert role.entry.source.endswith("student.onnx")
    generator = np.random.default_rng(99)
    picture, (_, _, box) = _picture(generator, "square")
    wanted = [ClassPrompts("disc", ("disc",)), ClassPrompts("square", ("square",))]
    (found,) = role.load().detect([np.asarray(picture)], wanted, confidence_floor=0.05)
    assert found.class_indices[0] == 1
    overlap = np.minimum(found.boxes_xyxy[0, 2:], box[2:]) - np.maximum(found.boxes_xyxy[0, :2], box[:2])
    assert (overlap > 0.6 * (np.array(box[2:]) - np.array(box[:2]))).all()
    with pytest.raises(ConfigError, match=r"'student-nobody' is not in the model registry; use one of .*student-c"):
        platform.models.detectors(["student-nobody"])


def test_train_check__frames_with_missing_labels_are_asked_about_first(trained: Trained) -> None:
    review = open_review(trained.platform, "cyclists")
    counts = {count.queue: count for count in review.queues()}
    assert next(iter(counts)) is ReviewQueue.STUDENT
    assert counts[ReviewQueue.STUDENT].num_open == trained.outcome.counts["frames in dispute"]
    page = review.page(ReviewQueue.STUDENT, size=300)
    missing = [f"{key}/{index:06d}" for key, index in sorted(UNLABELLED)]
    asked = {item.key: item.why for item in page.items}
    found = [key for key in missing if "which is not labelled" in asked.get(key, "")]
    assert len(found) >= 2
    assert len(asked) < len(VIDEOS) * FRAMES / 4  # the student agrees with most labels
    place = FramePlace("files-a", float(found[0].rpartition("/")[2]))
    given = Verdict("1", VerdictWord.COMPLETE, place, found[0], ReviewQueue.STUDENT, "Ada", NOON)
    add_verdicts(trained.platform.database, "cyclists", [given])
    assert found[0] not in {item.key for item in review.page(ReviewQueue.STUDENT, size=300).items}


def test_train_check__again_and_cancelled(trained: Trained) -> None:
    platform = trained.platform
    again = train_check(platform, "cyclists", trained.settings)
    assert again.status is OutcomeStatus.REUSED
    assert again.fingerprint == trained.outcome.fingerprint

    def cancel(_epoch: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_check(platform, "cyclists", trained.settings, force=True, on_epoch=cancel)
    assert latest_student(platform, "cyclists") == trained.student
    assert [entry.name for entry in platform.layout.students_folder("cyclists").iterdir()] == ["v001"]
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    commands = []
    for child in children.read_text().split():
        with suppress(OSError):  # the child has just ended
            commands.append(Path(f"/proc/{child}/cmdline").read_bytes())
    workers = [command for command in commands if b"training.jobs" in command]
    assert len(workers) <= 1  # the interpreter that starts workers remains; its workers are gone


def test_train_check__a_network_in_the_home_folder_counts_by_its_content(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(trained.network.parent))
    again = train_check(trained.platform, "cyclists", replace(trained.settings, network=f"~/{trained.network.name}"))
    assert (again.status, again.fingerprint) == (OutcomeStatus.REUSED, trained.outcome.fingerprint)


def test_student__in_dagster_shows_curve_figures_and_queue(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(trained.platform.root))
    monkeypatch.setenv(PROFILE_VARIABLE, "lite")
    wanted = {**asdict(trained.settings), "force": False}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("projects", ["cyclists"])
        done = defs.resolve_job_def(TRAIN_STUDENT).execute_in_process(
            instance=instance, partition_key="cyclists", run_config={"ops": {"student": {"config": wanted}}}
        )
    (event,) = done.get_asset_materialization_events()
    shown = event.materialization.metadata
    assert "status" in shown
    assert shown["mAP50"].value == trained.student.best.map50
    assert str(shown[RESULT].value).endswith(trained.student.line)
    told = str(shown["next"].value)
    assert "/projects/cyclists/queues/student" in told
    assert "data-miner review cyclists" in told
    picture = trained.platform.layout.project_preview("cyclists", "student")
    assert trained.platform.layout.preview_address(picture) in told
    with Image.open(picture) as curve:
        assert curve.size == (480, 240)


def test_train_check__says_what_is_missing(trained: Trained, tmp_path: Path) -> None:
    strict = PlatformConfig.model_validate({"models": {"profile": "lite", "allowed_licences": ["MIT"]}})
    with pytest.raises(ConfigError, match=r"licence AGPL-3\.0, but .*allowed_licences contains only MIT"):
        train_check(Platform(strict, trained.platform.root), "cyclists")
    platform = build_project(tmp_path / "root", videos=[SampleVideo("files-short", num_frames=2)])
    release_project(platform, "cyclists")
    with pytest.raises(ConfigError, match=r"v001 has no images in the split 'val' to evaluate on"):
        train_check(platform, "cyclists")
    boxes = {0: [("person", 0.9, (4.0, 6.0, 40.0, 30.0))]}
    videos = [SampleVideo("files-a", boxes=boxes), SampleVideo("files-b", num_frames=1), SampleVideo("files-c")]
    splits = {"fixed_splits": {"train": ["files-a"], "val": ["files-b"], "test": ["files-c"]}}
    platform = build_project(tmp_path / "boxless", videos=videos, releasing=splits)
    release_project(platform, "cyclists")
    with pytest.raises(ConfigError, match=r"v001 has no boxes in the split 'val' to evaluate on; add videos, change"):
        train_check(platform, "cyclists")


def test_refuse_connections__no_other_machine_is_reached() -> None:
    code = (
        "import socket; from data_miner_dagster.models.training import refuse_connections; refuse_connections()\n"
        "for try_it in (lambda: socket.socket().connect(('127.0.0.1', 9)), lambda: socket.getaddrinfo('a.test', 1)):\n"
        "    try: try_it()\n"
        "    except PermissionError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line.partition(";")[0] for line in done.stdout.splitlines()] == [
        "training may not use the network, but a library tried to reach ('127.0.0.1', 9)",
        "training may not use the network, but a library tried to reach 'a.test'",
    ]
