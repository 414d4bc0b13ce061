import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.records import ClassPrompts, RgbImage
from data_miner_dagster.models.detectors.ultralytics_detector import UltralyticsDetector, import_yolo
from data_miner_dagster.models.lite.darknet import read_model
from data_miner_dagster.models.lite.lite_detector import load as load_lite
from data_miner_dagster.models.packages import package_folder
from data_miner_dagster.models.pins import YOLOV3_TINY
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.registry import BUILT_IN
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.stages.detection.boxes import iou_matrix
from data_miner_dagster_tests.models.detectors.detector_contract import assert_keeps_contract

pytestmark = pytest.mark.models

CLASSES = (ClassPrompts("person", ("a person",)), ClassPrompts("bus", ("bus",)), ClassPrompts("tie", ("tie",)))


def photo(name: str) -> RgbImage:
    spec = find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    content = cv2.imread(str(Path(spec.origin).parent / "assets" / name))
    return np.asarray(cv2.cvtColor(content, cv2.COLOR_BGR2RGB), np.uint8)


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "yolov3-tiny.onnx"
    onnx.save(read_model(package_folder(YOLOV3_TINY)), path)
    return path


def provider_of(path: Path, **options: str) -> ModelProvider:
    entry = {"architecture": "ultralytics", "source": f"ultralytics:{path}", "options": options}
    return ModelProvider(ModelsConfig.model_validate({"detector": "own", "registry": {"own": entry}, "device": "cpu"}))


@pytest.fixture(scope="module")
def detector(onnx_file: Path) -> UltralyticsDetector:
    loaded = provider_of(onnx_file).detector.load()
    assert isinstance(loaded, UltralyticsDetector)
    return loaded


def test_detect__contract(detector: UltralyticsDetector) -> None:
    images = [photo("bus.jpg"), photo("zidane.jpg")[:300, :77], np.zeros((1, 1, 3), np.uint8)]
    assert len(assert_keeps_contract(detector, CLASSES, images=images)[0].prompts) > 3


def test_detect__as_the_lite_detector_finds_them(detector: UltralyticsDetector) -> None:
    """Compare the two implementations that use the same weights, one with Ultralytics' pre- and post-processing."""
    images = [photo("bus.jpg"), photo("zidane.jpg")]
    ours = load_lite(BUILT_IN["lite-yolov3-tiny"], "cpu").detect(images, CLASSES, confidence_floor=0.3)
    theirs = detector.detect(images, CLASSES, confidence_floor=0.3)
    for first, second in zip(ours, theirs, strict=True):
        assert len(first.prompts) >= 4
        # Ultralytics keeps boxes that overlap by up to 0.7, and ours, like Darknet, only up to 0.45.
        # So every box of ours is one of Ultralytics'.
        overlaps = iou_matrix(first.boxes_xyxy, second.boxes_xyxy)
        assert (overlaps.max(axis=1) > 0.98).all()
        twins = overlaps.argmax(axis=1)
        np.testing.assert_array_equal(first.class_indices, second.class_indices[twins])
        np.testing.assert_allclose(first.confidences, second.confidences[twins], atol=0.01)


def test_detect__unknown_class(detector: UltralyticsDetector) -> None:
    with pytest.raises(ConfigError, match="'taxi' is not one of them"):
        detector.detect([photo("bus.jpg")], [ClassPrompts("taxi", ("taxi",))], confidence_floor=0.1)


def test_check_classes__names_of_the_file_without_running_it(onnx_file: Path) -> None:
    entry = provider_of(onnx_file).detector.entry
    check_classes(entry, CLASSES)
    with pytest.raises(ConfigError, match="'taxi' is not one of them"):
        check_classes(entry, [ClassPrompts("taxi", ("taxi",))])


def test_load__another_file_is_another_fingerprint(tmp_path: Path) -> None:
    same, other = tmp_path / "same.onnx", tmp_path / "same" / "same.onnx"
    same.write_bytes(b"1")
    other.parent.mkdir()
    other.write_bytes(b"2")
    assert provider_of(same).detector.fingerprint != provider_of(other).detector.fingerprint


def test_load__missing_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not exist or is a folder without files|no file"):
        provider_of(tmp_path / "missing.onnx").detector.load()
    (tmp_path / "weights.bin").write_bytes(b"1")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not a model")
    models = provider_of(damaged)
    for ask in (models.detector.load, lambda: check_classes(models.detector.entry, CLASSES)):
        with pytest.raises(ModelError, match=r"damaged\.onnx is not an ONNX model \(.*\); export it again"):
            ask()
    with pytest.raises(ModelError, match=r"neither an \.onnx nor a \.pt file"):
        provider_of(tmp_path / "weights.bin").detector.load()


SIDE_EFFECTS = """
import os, warnings
import cv2, numpy, PIL.Image, torch
def state():
    return PIL.Image.open, torch.save, cv2.getNumThreads(), numpy.get_printoptions(), list(warnings.filters)
before = state()
from data_miner_dagster.models.detectors.ultralytics_detector import import_yolo
assert import_yolo().__name__ == "YOLO"
assert state() == before
from ultralytics.utils import AUTOINSTALL, ONLINE, SAFE_LOAD
from ultralytics.utils.events import events
assert SAFE_LOAD and not AUTOINSTALL and not ONLINE and not events.enabled
"""


def test_import_yolo__leaves_the_process_as_it_was(tmp_path: Path) -> None:
    environment = os.environ | {"YOLO_CONFIG_DIR": str(tmp_path), "YOLO_AUTOINSTALL": "True"}
    subprocess.run([sys.executable, "-c", SIDE_EFFECTS], check=True, env=environment)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_load__pickle_is_not_opened_without_its_checksum(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(ModelError, match=f"pin it with `options: {{sha256: {sha256_of_file(path)}}}`"):
        provider_of(path).detector.load()
    with pytest.raises(ModelError, match="instead of the pinned 0123"):
        provider_of(path, sha256="0123").detector.load()
    assert not (tmp_path / "exploded").exists()


def test_load__pinned_pickle_builds_no_foreign_classes(tmp_path: Path) -> None:
    import pickle

    import torch

    path = tmp_path / "weights.pt"
    for save in (torch.save, lambda content, file: file.write_bytes(pickle.dumps(content, protocol=2))):
        save({"model": Bomb(tmp_path / "exploded")}, path)
        with pytest.raises(ModelError, match=r"weights\.pt cannot be opened as an Ultralytics checkpoint") as raised:
            provider_of(path, sha256=sha256_of_file(path)).detector.load()
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "exploded").exists()


def save_random(architecture: str, path: Path) -> list[str]:
    """Write a `.pt` file as Ultralytics does, with random weights that give detections, and return its class names."""
    import torch

    torch.manual_seed(0)
    yolo = import_yolo()(f"{architecture}.yaml", task="detect", verbose=False)
    for name, parameter in yolo.model.model[-1].named_parameters():
        if "cv3" in name and name.endswith("bias"):
            torch.nn.init.normal_(parameter, -1, 1.5)  # so that it detects several classes
    yolo.ckpt = {"train_args": {"imgsz": 160}}
    yolo.save(path)
    return list(yolo.names.values())


@pytest.mark.parametrize("architecture", ["yolo11n", "yolo26n"])
def test_load__pinned_weights_of_a_real_architecture(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / f"{architecture}.pt"
    classes = [ClassPrompts(f"class {name}", (name,)) for name in save_random(architecture, path)]
    detector = provider_of(path, sha256=sha256_of_file(path)).detector.load()
    found = assert_keeps_contract(
        detector, classes, images=[photo("bus.jpg")[:300, :211], np.zeros((1, 1, 3), np.uint8)]
    )
    assert len(found[0].prompts) > 3


@pytest.mark.parametrize("architecture", ["yolo11n", "yolo26n"])
def test_load__what_ultralytics_exports_finds_the_same(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / f"{architecture}.pt"
    classes = [ClassPrompts(f"class {name}", (name,)) for name in save_random(architecture, path)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about tracing
        exported = import_yolo()(str(path)).export(format="onnx", imgsz=160, simplify=False, verbose=False)
    images = [photo("bus.jpg")[:300, :211], photo("zidane.jpg")]
    theirs = (
        provider_of(path, sha256=sha256_of_file(path)).detector.load().detect(images, classes, confidence_floor=0.3)
    )
    check_classes(provider_of(Path(exported)).detector.entry, classes)
    ours = provider_of(Path(exported)).detector.load().detect(images, classes, confidence_floor=0.3)
    for first, second in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(first.confidences[:20], second.confidences[:20], atol=1e-3)
        assert (iou_matrix(first.boxes_xyxy[:20], second.boxes_xyxy).max(axis=1) > 0.98).all()
