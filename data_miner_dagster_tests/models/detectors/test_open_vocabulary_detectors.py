"""Tests of GroundingDINO, MM-Grounding-DINO, OWLv2 and OmDet-Turbo.

The network classes and the loading code are real and the weights random. The tests need no internet.
"""

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import transformers

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.records import ClassPrompts, ExemplarImage, RgbImage
from data_miner_dagster.models.detectors.grounding_dino import GroundingDinoDetector
from data_miner_dagster.models.detectors.omdet_turbo import OmDetTurboDetector
from data_miner_dagster.models.detectors.owlv2 import Owlv2Detector
from data_miner_dagster.models.detectors.phrase_detector import BestPhraseDetector, Phrase
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster_tests.models.detectors.detector_contract import (
    assert_alike,
    assert_can_be_tried,
    assert_equal,
    assert_keeps_contract,
    odd_images,
)
from data_miner_dagster_tests.support.tiny_detectors import save_grounding_dino, save_omdet_turbo, save_owlv2

SAVE: dict[str, Callable[[Path], Path]] = {
    "grounding-dino": save_grounding_dino,
    "mm-grounding-dino": partial(save_grounding_dino, kind="MMGroundingDino"),
    "owlv2": save_owlv2,
    "omdet-turbo": save_omdet_turbo,
}
CLASSES = (ClassPrompts("car", ("car", "a red taxi")), ClassPrompts("person", ("a person riding a bike",)))
PROMPTS = ["car", "a red taxi", "a person riding a bike"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> NoReturn:
        raise AssertionError("a detector that lies on disk asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in SAVE.items()}


def provider_of(architecture: str, folder: Path) -> ModelProvider:
    entry = {"architecture": architecture, "source": f"file:{folder}"}
    return ModelProvider(ModelsConfig.model_validate({"detector": "own", "registry": {"own": entry}, "device": "cpu"}))


def load(architecture: str, folder: Path) -> Any:
    return provider_of(architecture, folder).detector.load()


@pytest.mark.parametrize("architecture", SAVE)
def test_detect__contract(architecture: str, folders: dict[str, Path]) -> None:
    images = odd_images()[:3:2]
    found = assert_keeps_contract(load(architecture, folders[architecture]), CLASSES, images=images)
    assert sum(len(detections.prompts) for detections in found) > 0


@pytest.mark.parametrize("architecture", SAVE)
def test_try_detect(architecture: str, folders: dict[str, Path], tmp_path: Path) -> None:
    assert_can_be_tried(provider_of(architecture, folders[architecture]), CLASSES, tmp_path)


@pytest.mark.parametrize("architecture", SAVE)
def test_detect__one_forward_pass_for_images_of_one_size(
    architecture: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector: BestPhraseDetector = load(architecture, folders[architecture])
    passes: list[int] = []
    score = detector.score

    def counted(images: Any, prompts: Any) -> Any:
        passes.append(len(images))
        return score(images, prompts)

    monkeypatch.setattr(detector, "score", counted)
    image = odd_images()[0]
    found = detector.detect([image, image[::-1].copy(), image], CLASSES, confidence_floor=0.01)
    assert passes == [3]
    assert_alike(found[0], found[2])


def test_detect__memory_that_does_not_suffice(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    detector: BestPhraseDetector = load("owlv2", folders["owlv2"])
    expected = detector.detect(odd_images(), CLASSES, confidence_floor=0.01)
    score = detector.score

    def starved(images: Any, prompts: Any) -> Any:
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return score(images, prompts)

    monkeypatch.setattr(detector, "score", starved)
    found = detector.detect(odd_images(), CLASSES, confidence_floor=0.01)
    assert [detections.prompts for detections in found] == [detections.prompts for detections in expected]


# --- GroundingDINO, MM-Grounding-DINO ---


@pytest.fixture(scope="module", params=["grounding-dino", "mm-grounding-dino"])
def grounding_dino(request: pytest.FixtureRequest, folders: dict[str, Path]) -> GroundingDinoDetector:
    detector = load(request.param, folders[request.param])
    assert isinstance(detector, GroundingDinoDetector)
    return detector


def test_grounding_dino__text_is_what_its_tokenizer_makes_of_the_whole(grounding_dino: GroundingDinoDetector) -> None:
    ids, spans = grounding_dino.text_of(["Car", "a red taxi", "gbus?"])
    tokenizer = grounding_dino.tokenizer
    assert ids == tokenizer("car . a red taxi . gbus .")["input_ids"]
    assert [tokenizer.decode(ids[span]) for span in spans] == ["car", "a red taxi", "gbus"]
    assert spans[2] == slice(7, 11)  # g, ##b, ##u, ##s: a word of several tokens is one span


def test_grounding_dino__each_phrase_by_its_own_tokens(grounding_dino: GroundingDinoDetector) -> None:
    image = odd_images()[0]
    (scored,) = grounding_dino.score([image], PROMPTS)
    # The expected scores: the text is one string, the model is called directly, and tokens are counted by hand.
    tokens = grounding_dino.tokenizer("car . a red taxi . a person riding a bike .", return_tensors="pt")
    pixels = grounding_dino.image_processor(images=[image], return_tensors="pt")
    with torch.inference_mode():
        outputs = grounding_dino.network(**pixels, **tokens)
    hot = outputs.logits[0].sigmoid().numpy()
    expected = np.stack([hot[:, 1], hot[:, 3:6].mean(axis=1), hot[:, 7:12].mean(axis=1)], axis=1)
    np.testing.assert_allclose(scored.phrase_scores, expected, atol=1e-6)
    processor = transformers.GroundingDinoProcessor(grounding_dino.image_processor, grounding_dino.tokenizer)
    (theirs,) = processor.post_process_grounded_object_detection(
        outputs, tokens["input_ids"], threshold=0.0, text_threshold=0.0, target_sizes=[(480, 640)]
    )
    assert len(theirs["boxes"]) == 20
    np.testing.assert_allclose(scored.boxes_xyxy, theirs["boxes"].numpy(), rtol=1e-4, atol=1e-2)


def test_grounding_dino__no_merged_labels(grounding_dino: GroundingDinoDetector) -> None:
    classes = [ClassPrompts("car", ("car",)), ClassPrompts("taxi", ("taxi",))]
    (found,) = grounding_dino.detect([odd_images()[0]], classes, confidence_floor=0.0)
    assert len(found.prompts) > 1
    assert set(found.prompts) <= {"car", "taxi"}
    # Each box of the network gets one label.
    assert len({tuple(box) for box in found.boxes_xyxy.tolist()}) == len(found.prompts)


def test_grounding_dino__long_class_lists_go_in_chunks(grounding_dino: GroundingDinoDetector) -> None:
    phrases = [Phrase(index, "a red car") for index in range(100)]  # four tokens each, including the separator
    chunks = grounding_dino.chunks_of(phrases)
    assert [len(chunk) for chunk in chunks] == [63, 37]  # 63 * 4 + 2 = 254 of 256 tokens
    assert [phrase for chunk in chunks for phrase in chunk] == phrases
    assert len(grounding_dino.text_of([phrase.prompt for phrase in chunks[0]])[0]) == 254
    many = [ClassPrompts(f"class {index}", ("a red car",)) for index in range(100)]
    (found,) = grounding_dino.detect([odd_images()[1]], many, confidence_floor=0.0)
    assert set(found.class_indices.tolist()) <= set(range(100))
    assert any(index >= 63 for index in found.class_indices.tolist())


def test_grounding_dino__phrases_that_cannot_be_read(grounding_dino: GroundingDinoDetector) -> None:
    with pytest.raises(ConfigError, match="300 tokens"):
        grounding_dino.chunks_of([Phrase(0, " ".join(["car"] * 299))])
    with pytest.raises(ConfigError, match=r"finds no words in the phrase '\.\.\.'"):
        grounding_dino.chunks_of([Phrase(0, "...")])


def test_grounding_dino__no_phrases(grounding_dino: GroundingDinoDetector) -> None:
    assert grounding_dino.chunks_of([]) == []


# --- OWLv2 ---


def test_owlv2__boxes_of_a_padded_image(folders: dict[str, Path]) -> None:
    detector = load("owlv2", folders["owlv2"])
    assert isinstance(detector, Owlv2Detector)
    images = odd_images()[:3]
    scored = detector.score(images, PROMPTS)
    # Transformers' own post-processing takes the padding to the longer side into account.
    text = detector.tokenizer(PROMPTS, padding="max_length", max_length=16, return_tensors="pt")
    for image, ours in zip(images, scored, strict=True):
        pixels = detector.image_processor(images=[image], return_tensors="pt")
        with torch.inference_mode():
            outputs = detector.network(**text, **pixels)
        (theirs,) = detector.image_processor.post_process_object_detection(
            outputs, threshold=0.0, target_sizes=[image.shape[:2]]
        )
        np.testing.assert_allclose(ours.boxes_xyxy, theirs["boxes"].numpy(), rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(ours.phrase_scores.max(axis=1), theirs["scores"].numpy(), atol=1e-4)
        np.testing.assert_array_equal(ours.phrase_scores.argmax(axis=1), theirs["labels"].numpy())


def test_owlv2__phrases_are_embedded_once(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    detector = load("owlv2", folders["owlv2"])
    texts: list[int] = []
    read = detector.network.owlv2.text_model.forward

    def counted(**tokens: Any) -> Any:
        texts.append(len(tokens["input_ids"]))
        return read(**tokens)

    monkeypatch.setattr(detector.network.owlv2.text_model, "forward", counted)
    monkeypatch.setattr(detector, "_embedded", {})
    images = odd_images()[:3]
    first = detector.detect(images, CLASSES, confidence_floor=0.01)
    assert texts == [1, 1, 1]
    again = detector.detect(images, CLASSES, confidence_floor=0.01)
    detector.detect(images, [*CLASSES, ClassPrompts("bus", ("bus",))], confidence_floor=0.01)
    assert texts == [1, 1, 1, 1]
    for one, other in zip(first, again, strict=True):
        assert_equal(one, other)


def test_owlv2__phrases_are_never_cut_short(folders: dict[str, Path]) -> None:
    detector = load("owlv2", folders["owlv2"])
    with pytest.raises(ConfigError, match=r"has 17 tokens, but detector own reads at most 16; shorten the phrase"):
        detector.chunks_of([Phrase(0, " ".join(["car"] * 15))])
    assert [len(chunk) for chunk in detector.chunks_of([Phrase(0, "car")] * 130)] == [64, 64, 2]


def exemplar_of(image: RgbImage, *boxes: BoxXyxy, name: str = "") -> ExemplarImage:
    return ExemplarImage(name or str(image.shape), boxes, lambda: image)


def theirs_of(detector: Any, image: RgbImage, example: RgbImage) -> tuple[Any, Any]:
    """Return the boxes and confidences of transformers' own image-guided detection."""
    pixels, query = (detector.image_processor(images=[one], return_tensors="pt") for one in (image, example))
    with torch.inference_mode():
        outputs = detector.network.image_guided_detection(
            pixel_values=pixels["pixel_values"], query_pixel_values=query["pixel_values"]
        )
    boxes = transformers.image_transforms.center_to_corners_format(outputs.target_pred_boxes[0]).numpy() * max(
        image.shape[:2]
    )
    return boxes, outputs.logits[0, :, 0].sigmoid().numpy()


def test_owlv2__a_picture_as_its_own_image_guided_detection(folders: dict[str, Path]) -> None:
    detector = load("owlv2", folders["owlv2"])
    image, example = odd_images()[0], odd_images(seed=1)[4]
    for box in ((), ((100.2, 50, 299.5, 310),)):
        crop = example[50:310, 100:300] if box else example
        boxes, confidences = theirs_of(detector, image, crop)
        phrases = [Phrase(0, "car (images)", (exemplar_of(example, *box),))]
        (ours,) = detector.candidates_of_phrases([image], phrases, confidence_floor=0.0)
        assert len(ours.confidences) == len(confidences) >= 10
        np.testing.assert_allclose(ours.boxes_xyxy, boxes, atol=1e-3 * 640)
        np.testing.assert_allclose(ours.confidences, confidences, atol=1e-3)


def test_owlv2__several_pictures_are_averaged_and_stand_beside_words(folders: dict[str, Path]) -> None:
    detector = load("owlv2", folders["owlv2"])
    image, first, second = odd_images()[0], odd_images(seed=1)[0], odd_images(seed=2)[4]
    pictures = (exemplar_of(first), exemplar_of(second, (0, 0, 90, 80), (200, 100, 300, 300)))
    units = [detector.embed_image(crop) for crop in (first, second[:80, :90], second[100:300, 200:300])]
    mean = (units[0] + (units[1] + units[2])) / 3
    (expected,) = detector.score_vectors([image], torch.cat([*detector.embedded(PROMPTS[:2]), mean]))
    phrases = [Phrase(0, "car"), Phrase(0, "a red taxi"), Phrase(0, "car (images)", pictures)]
    (ours,) = detector.candidates_of_phrases([image], phrases, confidence_floor=0.0)
    np.testing.assert_allclose(ours.confidences, expected.phrase_scores.max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(ours.columns, expected.phrase_scores.argmax(axis=1))


def test_owlv2__classes_of_pictures_keep_the_contract(folders: dict[str, Path]) -> None:
    detector = load("owlv2", folders["owlv2"])
    example = odd_images(seed=1)[0]
    classes = (
        ClassPrompts("car", ("car", "a red taxi"), (exemplar_of(example),)),
        ClassPrompts(
            "part 7731, whose name is longer than all that the network reads of a text",
            (),
            (exemplar_of(example, (10, 10, 200, 200)),),
        ),
        ClassPrompts("person", ("a person riding a bike",)),
    )
    found = assert_keeps_contract(detector, classes, images=odd_images()[:3:2])
    assert {prompt for detections in found for prompt in detections.prompts} > {classes[1].exemplar_prompt}
    # A box that matches both the words and the pictures of a class counts once, for its best phrase.
    (both,) = detector.detect([odd_images()[0]], classes, confidence_floor=0.0)
    assert len({tuple(box) for box in both.boxes_xyxy.tolist()}) == len(both.prompts)


def test_owlv2__pictures_are_seen_once(folders: dict[str, Path]) -> None:
    detector = load("owlv2", folders["owlv2"])
    example, reads = odd_images(seed=3)[0], []

    def read() -> RgbImage:
        reads.append(1)
        return example

    classes = [ClassPrompts("part", (), (ExemplarImage("of a test", (), read),))]
    first = detector.detect([odd_images()[0]], classes, confidence_floor=0.01)
    again = detector.detect([odd_images()[0]], classes, confidence_floor=0.01)
    assert reads == [1]
    assert_equal(first[0], again[0])


# --- detectors that accept no exemplars ---


@pytest.mark.parametrize("architecture", ["grounding-dino", "mm-grounding-dino", "omdet-turbo"])
def test_check_classes__pictures_that_a_detector_does_not_take(architecture: str, folders: dict[str, Path]) -> None:
    entry = provider_of(architecture, folders[architecture]).detector.entry
    check_classes(entry, CLASSES)
    with pytest.raises(
        ConfigError, match=r"'car' has `images`, but detector 'own' does not accept exemplars.* choose OWLv2"
    ):
        check_classes(entry, CLASSES, ["car"])
    pictured = [ClassPrompts("car", (), (exemplar_of(odd_images()[0]),))]
    with pytest.raises(ConfigError, match="does not accept exemplars"):
        load(architecture, folders[architecture]).detect(odd_images()[:1], pictured, confidence_floor=0.1)


def test_check_classes__pictures_for_owlv2(folders: dict[str, Path]) -> None:
    check_classes(provider_of("owlv2", folders["owlv2"]).detector.entry, CLASSES, ["car", "person"])


# --- OmDet-Turbo ---


def test_omdet_turbo__as_its_own_post_processing(folders: dict[str, Path]) -> None:
    detector = load("omdet-turbo", folders["omdet-turbo"])
    assert isinstance(detector, OmDetTurboDetector)
    processor = transformers.OmDetTurboProcessor(detector.image_processor, detector.tokenizer)
    image = odd_images()[0]
    (scored,) = detector.score([image], PROMPTS)
    inputs = processor(images=image, text=[PROMPTS], return_tensors="pt")
    with torch.inference_mode():
        outputs = detector.network(**inputs)
    (theirs,) = processor.post_process_grounded_object_detection(
        outputs, text_labels=[PROMPTS], threshold=0.0, nms_threshold=1.0, target_sizes=[(480, 640)], max_num_det=60
    )
    assert len(theirs["scores"]) == scored.phrase_scores.size == 60
    np.testing.assert_allclose(np.sort(theirs["scores"].numpy()), np.sort(scored.phrase_scores.ravel()), atol=1e-5)
    boxes = np.clip(scored.boxes_xyxy, 0, [640, 480, 640, 480])
    for box, label, confidence in zip(theirs["boxes"], theirs["text_labels"], theirs["scores"], strict=True):
        column = PROMPTS.index(label)
        row = int(np.abs(scored.phrase_scores[:, column] - float(confidence)).argmin())
        np.testing.assert_allclose(boxes[row], box.numpy(), rtol=1e-4, atol=0.01)
        assert scored.phrase_scores[row, column] == pytest.approx(float(confidence), abs=1e-5)


def test_omdet_turbo__task_fits_the_text_limit(folders: dict[str, Path]) -> None:
    detector = load("omdet-turbo", folders["omdet-turbo"])
    chunks = detector.chunks_of([Phrase(0, "a red car")] * 40)
    assert len(chunks) > 1
    for chunk in chunks:
        task = f"Detect {', '.join(phrase.prompt for phrase in chunk)}."
        assert len(detector.tokenizer(task)["input_ids"]) <= 77


# --- loading ---


@pytest.mark.parametrize("architecture", SAVE)
def test_load__folder_without_weights(architecture: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="could not be loaded"):
        load(architecture, tmp_path)
