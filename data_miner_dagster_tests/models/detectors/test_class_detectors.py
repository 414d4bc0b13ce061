"""Tests of RT-DETR, RT-DETRv2, D-FINE, DEIMv2 and RF-DETR.

The network classes and the loading code are real and the weights random. The tests need no internet.
"""

import json
import shutil
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.records import ClassPrompts
from data_miner_dagster.models.detectors.focal_detr import FocalDetrDetector
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster_tests.models.detectors.detector_contract import (
    assert_alike,
    assert_can_be_tried,
    assert_equal,
    assert_keeps_contract,
    odd_images,
)
from data_miner_dagster_tests.support.tiny_detectors import CLASS_NAMES, save_rf_detr, save_rt_detr

SAVE: dict[str, Callable[[Path], Path]] = {
    "rt-detr": save_rt_detr,
    "rt-detr-v2": partial(save_rt_detr, kind="RTDetrV2"),
    "d-fine": partial(save_rt_detr, kind="DFine"),
    "deimv2": partial(save_rt_detr, kind="Deimv2"),
    "rf-detr": save_rf_detr,
    "rf-detr with masks": partial(save_rf_detr, task="InstanceSegmentation"),
}
CLASSES = (ClassPrompts("car", ("taxi", "cars")), ClassPrompts("shown", ("a television", "red taxi")))
EVERYTHING = [ClassPrompts(str(index), (name,)) for index, name in enumerate(CLASS_NAMES)]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> NoReturn:
        raise AssertionError("a detector that lies on disk asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in SAVE.items()}


def provider_of(folder: Path, architecture: str) -> ModelProvider:
    entry = {"architecture": architecture.split()[0], "source": f"file:{folder}"}
    return ModelProvider(ModelsConfig.model_validate({"detector": "own", "registry": {"own": entry}, "device": "cpu"}))


def load(folder: Path, architecture: str) -> FocalDetrDetector:
    detector = provider_of(folder, architecture).detector.load()
    assert isinstance(detector, FocalDetrDetector)
    return detector


@pytest.mark.parametrize("architecture", SAVE)
def test_detect__contract(architecture: str, folders: dict[str, Path]) -> None:
    found = assert_keeps_contract(load(folders[architecture], architecture), CLASSES, images=odd_images()[:3:2])
    assert sum(len(detections.prompts) for detections in found) > 0


@pytest.mark.parametrize("architecture", SAVE)
def test_detect__as_its_own_post_processing(architecture: str, folders: dict[str, Path]) -> None:
    detector = load(folders[architecture], architecture)
    for image in odd_images()[:2]:
        (ours,) = detector.detect([image], EVERYTHING, confidence_floor=0.0)
        pixels = detector.image_processor(images=[image], return_tensors="pt")
        with torch.inference_mode():
            outputs = detector.network(**pixels)
        (theirs,) = detector.image_processor.post_process_object_detection(
            outputs, threshold=0.0, target_sizes=[image.shape[:2]]
        )
        # Transformers returns the best pairs of box and class, most confident first; ours is the best pair of each box.
        boxes = theirs["boxes"].numpy()
        firsts = sorted(np.unique(boxes, axis=0, return_index=True)[1])
        assert len(firsts) >= 10
        assert len(set(theirs["labels"][firsts].tolist())) > 1
        boxes = np.clip(boxes[firsts], 0, [image.shape[1], image.shape[0]] * 2)
        if architecture != "rf-detr with masks":  # its boxes are the bounds of its masks
            np.testing.assert_allclose(ours.boxes_xyxy[: len(firsts)], boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(ours.confidences[: len(firsts)], theirs["scores"][firsts].numpy(), atol=1e-5)
        np.testing.assert_array_equal(ours.class_indices[: len(firsts)], theirs["labels"][firsts].numpy())


def test_detect__masks_as_its_own_post_processing(folders: dict[str, Path]) -> None:
    detector = load(folders["rf-detr with masks"], "rf-detr")
    image = odd_images()[0]
    (ours,) = detector.detect([image], EVERYTHING, confidence_floor=0.0)
    with torch.inference_mode():
        outputs = detector.network(**detector.image_processor(images=[image], return_tensors="pt"))
    (theirs,) = detector.image_processor.post_process_instance_segmentation(
        outputs, threshold=0.0, target_sizes=[image.shape[:2]], return_binary_maps=True
    )
    num_compared = 0
    for row, mask in enumerate(ours.masks):
        if mask is None:  # transformers leaves out empty masks
            continue
        same = [
            pixels.numpy()
            for pixels, segment in zip(theirs["segmentation"], theirs["segments_info"], strict=True)
            if segment["label_id"] == ours.class_indices[row]
            and abs(segment["score"] - float(ours.confidences[row])) < 2e-6
        ]
        if len(same) != 1:  # not among the best pairs of box and class, or ambiguous
            continue
        pixels = same[0]
        across, down = np.flatnonzero(pixels.any(axis=0)), np.flatnonzero(pixels.any(axis=1))
        np.testing.assert_allclose(ours.boxes_xyxy[row], [across[0], down[0], across[-1] + 1, down[-1] + 1], atol=1)
        assert (mask.pixels() == pixels).mean() > 0.999
        num_compared += 1
    assert num_compared >= 10


@pytest.mark.parametrize("architecture", SAVE)
def test_try_detect(architecture: str, folders: dict[str, Path], tmp_path: Path) -> None:
    assert_can_be_tried(provider_of(folders[architecture], architecture), EVERYTHING, tmp_path)


def test_load__rt_detr_is_the_name_of_three_kinds(folders: dict[str, Path]) -> None:
    for architecture in ("rt-detr-v2", "d-fine"):
        by_name = load(folders[architecture], architecture)
        by_family = load(folders[architecture], "rt-detr")
        (expected,) = by_name.detect([odd_images()[0]], EVERYTHING, confidence_floor=0.1)
        (found,) = by_family.detect([odd_images()[0]], EVERYTHING, confidence_floor=0.1)
        assert len(found.prompts) > 0
        assert_equal(found, expected)


def test_detect__a_processor_that_pads(folders: dict[str, Path], tmp_path: Path) -> None:
    """Check that a small image's boxes do not depend on a larger image in the batch if the aspect ratio is kept."""
    folder = Path(shutil.copytree(folders["rf-detr"], tmp_path / "padding"))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["size"] = {"shortest_edge": 64, "longest_edge": 128}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    detector = load(folder, "rf-detr")
    images = [np.ascontiguousarray(odd_images()[0][:height, :width]) for height, width in ((320, 320), (320, 640))]
    together = detector.detect(images, EVERYTHING, confidence_floor=0.0)
    for image, found in zip(images, together, strict=True):
        assert_alike(found, detector.detect([image], EVERYTHING, confidence_floor=0.0)[0])


def test_detect__only_what_is_asked_for_under_its_phrase(folders: dict[str, Path]) -> None:
    detector = load(folders["d-fine"], "d-fine")
    (everything,) = detector.detect([odd_images()[0]], EVERYTHING, confidence_floor=0.0)
    (found,) = detector.detect([odd_images()[0]], CLASSES, confidence_floor=0.0)
    phrases = {"car": "cars", "tvmonitor": "a television", "a_red_taxi": "red taxi"}
    expected = [phrases[name] for name in everything.prompts if name in phrases]
    assert list(found.prompts) == expected
    classes = {"cars": 0, "a television": 1, "red taxi": 1}
    assert found.class_indices.tolist() == [classes[prompt] for prompt in found.prompts]
    assert len(set(found.prompts)) > 1


def test_check_classes__names_of_the_configuration_without_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(folders["rt-detr"] / "config.json", tmp_path)
    entry = provider_of(tmp_path, "rt-detr").detector.entry
    check_classes(entry, CLASSES)
    with pytest.raises(ConfigError, match=r"its own classes \(5, .*'cab' is not one of them"):
        check_classes(entry, [ClassPrompts("cab", ("cab",))])


def test_check_classes__nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"own .* could not be loaded"):
        check_classes(provider_of(tmp_path, "rt-detr").detector.entry, CLASSES)


def test_load__folder_without_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(folders["rt-detr"] / "config.json", tmp_path)
    with pytest.raises(ModelError, match="could not be loaded"):
        provider_of(tmp_path, "rt-detr").detector.load()
