"""RT-DETR, RT-DETRv2 and D-FINE: real classes, random weights, the real loading path, no network."""

import json
import shutil
import socket
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.records import ClassPrompts
from data_miner_dagster.models.detectors.rt_detr import RtDetrDetector
from data_miner_dagster.models.provider import DetectorRole, ModelProvider
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster_tests.models.detectors.detector_contract import assert_keeps_contract, odd_images
from data_miner_dagster_tests.support.tiny_detectors import save_rt_detr

KINDS = ("RTDetr", "RTDetrV2", "DFine")
NAMES = ("person", "car", "bus", "tvmonitor", "a_red_taxi")
CLASSES = (ClassPrompts("car", ("taxi", "cars")), ClassPrompts("shown", ("a television", "red taxi")))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> NoReturn:
        raise AssertionError("a detector that lies on disk asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save_rt_detr(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def role_of(folder: Path) -> DetectorRole:
    entry = {"architecture": "rt-detr", "source": f"file:{folder}"}
    config = ModelsConfig.model_validate({"detector": "own", "registry": {"own": entry}, "device": "cpu"})
    return ModelProvider(config).detector


def load(folder: Path) -> RtDetrDetector:
    detector = role_of(folder).load()
    assert isinstance(detector, RtDetrDetector)
    return detector


@pytest.mark.parametrize("kind", KINDS)
def test_detect__contract(kind: str, folders: dict[str, Path]) -> None:
    found = assert_keeps_contract(load(folders[kind]), CLASSES, images=odd_images()[:3:2])
    assert sum(len(detections.prompts) for detections in found) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_detect__as_its_own_post_processing(kind: str, folders: dict[str, Path]) -> None:
    detector = load(folders[kind])
    everything = [ClassPrompts(str(index), (name,)) for index, name in enumerate(NAMES)]
    for image in odd_images()[:2]:
        (ours,) = detector.detect([image], everything, confidence_floor=0.0)
        pixels = detector.image_processor(images=[image], return_tensors="pt")
        with torch.inference_mode():
            outputs = detector.network(**pixels)
        (theirs,) = detector.image_processor.post_process_object_detection(
            outputs, threshold=0.0, target_sizes=[image.shape[:2]]
        )
        # Theirs are the best of all pairs of box and class, most confident first; ours is the best pair of each box.
        boxes = np.clip(theirs["boxes"].numpy(), 0, [image.shape[1], image.shape[0]] * 2)
        rows = [int(np.abs(ours.boxes_xyxy - box).max(axis=1).argmin()) for box in boxes]
        firsts = [rows.index(row) for row in dict.fromkeys(rows)]
        assert len(firsts) > 5
        for first in firsts:
            np.testing.assert_allclose(ours.boxes_xyxy[rows[first]], boxes[first], atol=0.02)
            assert ours.confidences[rows[first]] == pytest.approx(float(theirs["scores"][first]), abs=1e-5)
            assert ours.class_indices[rows[first]] == theirs["labels"][first]


def test_detect__only_what_is_asked_for_under_its_phrase(folders: dict[str, Path]) -> None:
    detector = load(folders["DFine"])
    (everything,) = detector.detect([odd_images()[0]], [ClassPrompts(n, (n,)) for n in NAMES], confidence_floor=0.0)
    (found,) = detector.detect([odd_images()[0]], CLASSES, confidence_floor=0.0)
    phrases = {"car": "cars", "tvmonitor": "a television", "a_red_taxi": "red taxi"}
    expected = [phrases[name] for name in everything.prompts if name in phrases]
    assert list(found.prompts) == expected
    assert {"car": 0, "tvmonitor": 1}[everything.prompts[0]] == found.class_indices[0]


def test_check_classes__names_of_the_configuration_without_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(folders["RTDetr"] / "config.json", tmp_path)
    entry = role_of(tmp_path).entry
    check_classes(entry, CLASSES)
    with pytest.raises(ConfigError, match=r"its own classes \(5, .*'cab' is not one of them"):
        check_classes(entry, [ClassPrompts("cab", ("cab",))])


def test_check_classes__nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"own .* could not be loaded"):
        check_classes(role_of(tmp_path).entry, CLASSES)


def test_load__a_checkpoint_of_another_architecture(folders: dict[str, Path], tmp_path: Path) -> None:
    config = json.loads((folders["RTDetr"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "yolos"}))
    with pytest.raises(ModelError, match="is of type 'yolos', not rt_detr or rt_detr_v2 or d_fine"):
        role_of(tmp_path).load()


def test_load__folder_without_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(folders["RTDetr"] / "config.json", tmp_path)
    with pytest.raises(ModelError, match="could not be loaded"):
        role_of(tmp_path).load()
