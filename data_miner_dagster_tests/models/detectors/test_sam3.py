"""Tests of SAM 3. The network class and the loading code are real, the weights random. The tests need no internet."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, UnreadableImageError
from data_miner_dagster.domain.records import ClassPrompts, RgbImage
from data_miner_dagster.models.detectors.phrase_detector import Phrase
from data_miner_dagster.models.detectors.sam3 import Sam3Detector
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.operations.detection.like_boxes import check_takes_boxes, try_detect_like
from data_miner_dagster_tests.models.detectors.detector_contract import (
    assert_can_be_tried,
    assert_equal,
    assert_keeps_contract,
    odd_images,
)
from data_miner_dagster_tests.support.tiny_detectors import save_sam3

CLASSES = (ClassPrompts("car", ("car", "a red taxi")), ClassPrompts("person", ("a person riding a bike",)))
PROMPTS = ["car", "a red taxi", "a person riding a bike"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> NoReturn:
        raise AssertionError("a detector that lies on disk asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam3(tmp_path_factory.mktemp("sam3"))


def provider_of(folder: Path) -> ModelProvider:
    entry = {"architecture": "sam3", "source": f"file:{folder}"}
    return ModelProvider(ModelsConfig.model_validate({"detector": "own", "registry": {"own": entry}, "device": "cpu"}))


def load(folder: Path) -> Sam3Detector:
    detector = provider_of(folder).detector.load()
    assert isinstance(detector, Sam3Detector)
    return detector


@pytest.fixture(scope="module")
def sam3(folder: Path) -> Sam3Detector:
    return load(folder)


def theirs_of(detector: Sam3Detector, image: RgbImage, prompt: str, *, threshold: float = 0.0) -> Any:
    """Return the network's output for one phrase, post-processed by transformers' own processor."""
    processor = transformers.Sam3Processor(detector.image_processor, detector.tokenizer)
    inputs = processor(images=image, text=prompt, return_tensors="pt")
    with torch.inference_mode():
        outputs = detector.network(
            pixel_values=inputs["pixel_values"],
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
        )
    (found,) = processor.post_process_instance_segmentation(
        outputs, threshold=threshold, target_sizes=[image.shape[:2]]
    )
    return found


def test_detect__contract(sam3: Sam3Detector) -> None:
    found = assert_keeps_contract(sam3, CLASSES, images=odd_images()[:3:2])
    assert {prompt for detections in found for prompt in detections.prompts} == set(PROMPTS)


def test_candidates_of__as_its_own_post_processing(sam3: Sam3Detector) -> None:
    images = odd_images()[:3]
    areas = set()
    for image, ours in zip(images, sam3.candidates_of(images, PROMPTS, confidence_floor=0.0), strict=True):
        for column, prompt in enumerate(PROMPTS):
            theirs = theirs_of(sam3, image, prompt)
            rows = ours.columns == column
            assert len(theirs["scores"]) == rows.sum() == 20
            np.testing.assert_allclose(ours.boxes_xyxy[rows], theirs["boxes"].numpy(), rtol=1e-4, atol=1e-2)
            np.testing.assert_allclose(ours.confidences[rows], theirs["scores"].numpy(), atol=1e-5)
            for row, pixels in zip(np.flatnonzero(rows).tolist(), theirs["masks"].numpy(), strict=True):
                mask = ours.masks[row]().pixels()
                assert (mask == pixels.astype(bool)).mean() >= 0.999
                areas.add(float(mask.mean().round(2)))
    assert len(areas) > 5  # masks of all sizes


def test_detect__each_phrase_by_itself(sam3: Sam3Detector) -> None:
    """Check that, with one phrase per class, the boxes are transformers' boxes after torchvision's suppression.

    If a box has a mask, the box is the bounds of the mask's pixels.
    """
    import torchvision.ops  # imports torch's compiler, which is larger than everything else that tests import

    image = odd_images()[0]
    classes = [ClassPrompts(prompt, (prompt,)) for prompt in PROMPTS]
    (found,) = sam3.detect([image], classes, confidence_floor=0.02)
    for index, prompt in enumerate(PROMPTS):
        theirs = theirs_of(sam3, image, prompt, threshold=0.02)
        boxes = theirs["boxes"].clamp(min=0)
        boxes[:, 0::2] = boxes[:, 0::2].clamp(max=640)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(max=480)
        kept = torchvision.ops.nms(boxes, theirs["scores"], 0.7)
        rows = found.class_indices == index
        assert len(kept) >= 10
        assert rows.sum() == len(kept)
        np.testing.assert_allclose(found.confidences[rows], theirs["scores"][kept].numpy(), atol=1e-5)
        for row, theirs_row in zip(np.flatnonzero(rows).tolist(), kept.tolist(), strict=True):
            pixels = theirs["masks"][theirs_row].numpy() > 0
            across, down = np.flatnonzero(pixels.any(axis=0)), np.flatnonzero(pixels.any(axis=1))
            mask = found.masks[row]
            if not len(across):
                assert mask is None
                expected = boxes[theirs_row].numpy()
            else:
                assert mask is not None
                expected = np.array([across[0], down[0], across[-1] + 1, down[-1] + 1])
            np.testing.assert_allclose(found.boxes_xyxy[row], expected, atol=1)


def test_detect__backbone_once_an_image_and_text_once_a_phrase(
    sam3: Sam3Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_images: list[int] = []
    num_texts: list[int] = []
    see, read = sam3.network.vision_encoder.forward, sam3.network.text_encoder.forward

    def counted_images(pixels: torch.Tensor, **more: Any) -> Any:
        num_images.append(len(pixels))
        return see(pixels, **more)

    def counted_texts(**texts: Any) -> Any:
        num_texts.append(len(texts["input_ids"]))
        return read(**texts)

    monkeypatch.setattr(sam3.network.vision_encoder, "forward", counted_images)
    monkeypatch.setattr(sam3.network.text_encoder, "forward", counted_texts)
    classes = [ClassPrompts("bus", ("bus", "a bus", "a red bus"))]
    for _ in range(2):
        sam3.detect(odd_images()[:2], classes, confidence_floor=0.02)
    assert num_images == [2, 2]
    assert num_texts == [1, 1, 1]


def test_chunks_of__phrases_are_never_cut_short(sam3: Sam3Detector) -> None:
    with pytest.raises(ConfigError, match=r"reads .*; shorten the phrase"):
        sam3.chunks_of([Phrase(0, " ".join(["car"] * 31))])
    assert len(sam3.chunks_of([Phrase(0, " ".join(["car"] * 30))])) == 1


def test_check_classes__exemplars_are_boxes_on_the_same_image(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'car' has `images`, but detector 'own' is a SAM 3, which accepts boxes"):
        check_classes(provider_of(folder).detector.entry, CLASSES, ["car"])


def test_load__the_video_network_around_it(folder: Path, sam3: Sam3Detector, tmp_path: Path) -> None:
    """Load a checkpoint like the published one: it contains both networks, and the detector's weights have a prefix."""
    video = Path(shutil.copytree(folder, tmp_path / "video"))
    config = json.loads((video / "config.json").read_text())
    (video / "config.json").write_text(
        json.dumps({"model_type": "sam3_video", "architectures": ["Sam3VideoModel"], "detector_config": config})
    )
    weights = load_file(video / "model.safetensors")
    inside = {f"detector_model.{name}": tensor for name, tensor in weights.items()}
    save_file(inside, video / "model.safetensors", metadata={"format": "pt"})
    (found,) = load(video).detect([odd_images()[0]], CLASSES, confidence_floor=0.02)
    (expected,) = sam3.detect([odd_images()[0]], CLASSES, confidence_floor=0.02)
    assert_equal(found, expected)


LIKE = ((30.0, 40.0, 130.0, 160.0), (200.0, 100.0, 420.0, 300.0))
UNLIKE = ((400.0, 10.0, 600.0, 90.0),)


@pytest.mark.parametrize("unlike", [(), UNLIKE])
def test_detect_like__as_its_own_processor(sam3: Sam3Detector, unlike: tuple[Any, ...]) -> None:
    image = odd_images()[0]
    processor = transformers.Sam3Processor(sam3.image_processor, sam3.tokenizer)
    inputs = processor(
        images=image,
        input_boxes=[[list(box) for box in (*LIKE, *unlike)]],
        input_boxes_labels=[[1] * len(LIKE) + [0] * len(unlike)],
        return_tensors="pt",
    )
    inputs.pop("original_sizes")
    with torch.inference_mode():
        outputs = sam3.network(**inputs)
    (theirs,) = processor.post_process_instance_segmentation(outputs, threshold=0.02, target_sizes=[image.shape[:2]])
    found = sam3.detect_like(image, LIKE, unlike, confidence_floor=0.02)
    scores, order = theirs["scores"].sort(descending=True)
    num_compared = 0
    for confidence, box, mask in zip(found.confidences, found.boxes_xyxy, found.masks, strict=True):
        row = int(order[(scores - float(confidence)).abs().argmin()])
        assert abs(float(confidence) - theirs["scores"][row].item()) <= 1e-3
        pixels = theirs["masks"][row].numpy() > 0
        if mask is None:
            assert not pixels.any()
            np.testing.assert_allclose(box, np.clip(theirs["boxes"][row].numpy(), 0, [640, 480, 640, 480]), atol=1e-3)
        else:
            assert (mask.pixels() == pixels).mean() >= 0.999
        num_compared += 1
    assert num_compared >= 10
    words = sam3.detect([image], [ClassPrompts("visual", ("visual",))], confidence_floor=0.02)[0]
    assert not np.array_equal(words.confidences, found.confidences), "the boxes count"


def test_try_detect_like(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    PIL.Image.fromarray(odd_images()[0]).save(picture)
    role = provider_of(folder).detector
    trial = try_detect_like(role, picture, LIKE, UNLIKE, threshold=0.02)
    assert int(trial.rows[0].cells[0]) >= 10
    assert [box.label for box in trial.rows[0].boxes[-3:]] == ["like", "like", "unlike"]
    with pytest.raises(ConfigError, match=r"the box \[0, 0, 641, 9\] extends beyond the 640 x 480 pixels"):
        try_detect_like(role, picture, [(0, 0, 641, 9)], (), threshold=0.02)
    picture.write_bytes(b"no picture")
    with pytest.raises(UnreadableImageError) as unreadable:
        try_detect_like(role, picture, LIKE, (), threshold=0.02)
    assert str(unreadable.value).count("cannot be read") == 1
    with pytest.raises(ConfigError, match="architecture 'yolov3-tiny' accepts no boxes as prompts"):
        check_takes_boxes(ModelProvider(ModelsConfig(profile="lite")).detector)


def test_try_detect(folder: Path, tmp_path: Path) -> None:
    assert_can_be_tried(provider_of(folder), CLASSES, tmp_path)
