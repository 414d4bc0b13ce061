"""Tests of YOLO-World and YOLOE.

The networks are Ultralytics' own, the text encoder is loaded from disk, and the weights are random. The tests need no
internet.
"""

import shutil
import socket
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.masks import Mask, mask_iou
from data_miner_dagster.domain.records import ClassPrompts, ExemplarImage, RgbImage
from data_miner_dagster.models.detectors.ultralytics_detector import import_yolo
from data_miner_dagster.models.lite.darknet import letterbox
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster_tests.models.detectors.detector_contract import (
    assert_alike,
    assert_keeps_contract,
    assert_well_formed,
    odd_images,
)
from data_miner_dagster_tests.support.tiny_detectors import save_clip_text, save_scripted_text

SCRIPT_BY_NETWORK = {
    "yolov8n-worldv2": None,
    "yoloe-11n-seg": "mobileclip_blt.ts",
    "yoloe-26n-seg": "mobileclip2_b.ts",
}
CLASSES = (ClassPrompts("vehicle", ("a red car", "a bus")), ClassPrompts("person", ("person",)))
SIDE = 160
PHRASES = ["a red car", "a bus", "person"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> NoReturn:
        raise AssertionError("a detector that lies on disk asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def save_network(name: str, folder: Path) -> Path:
    """Write a `.pt` file as Ultralytics does, with a random network that gives detections and distinguishes phrases."""
    torch.manual_seed(0)
    yolo = import_yolo()(f"{name}.yaml", verbose=False)
    for module in yolo.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # use the next batch's statistics; otherwise outputs fade to zero
    for name_of, parameter in yolo.model.model[-1].named_parameters():
        if "cv4" in name_of and name_of.endswith(("logit_scale", "bias")) and "norm" not in name_of:
            torch.nn.init.constant_(parameter, -1.0)
    with torch.no_grad():
        yolo.model.train()(torch.stack([pixels_of(image) for image in odd_images()[:2]]))
    yolo.ckpt = {"train_args": {"imgsz": SIDE}}
    path = folder / f"{name}.pt"
    yolo.save(path)
    return path


def pixels_of(image: RgbImage) -> torch.Tensor:
    """Return the image as the (3, SIDE, SIDE) input of the networks."""
    return torch.from_numpy(letterbox(image, SIDE)[0]).permute(2, 0, 1).float() / 255


def provider_of(path: Path, **options: str) -> ModelProvider:
    options = {"sha256": sha256_of_file(path), **options}
    entry = {"architecture": "ultralytics", "source": f"ultralytics:{path}", "options": options}
    return ModelProvider(ModelsConfig.model_validate({"detector": "own", "registry": {"own": entry}, "device": "cpu"}))


def with_text(path: Path, folder: Path, **options: str) -> ModelProvider:
    """Write the text encoder that the network needs to `folder`, and return a provider of both."""
    script = SCRIPT_BY_NETWORK[path.stem]
    if script is None:
        return provider_of(path, text_model=f"file:{save_clip_text(folder)}")
    save_scripted_text(folder, file_name=script)
    return provider_of(path, text_model=f"file:{folder}", text_sha256=sha256_of_file(folder / script), **options)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return {name: save_network(name, folder) for name in SCRIPT_BY_NETWORK}


@pytest.mark.parametrize("name", SCRIPT_BY_NETWORK)
def test_detect__contract(name: str, networks: dict[str, Path], tmp_path: Path) -> None:
    detector = with_text(networks[name], tmp_path).detector.load()
    found = assert_keeps_contract(detector, CLASSES, images=odd_images()[1:4:2])
    assert {prompt for detections in found for prompt in detections.prompts} == set(PHRASES)


@pytest.mark.parametrize("name", SCRIPT_BY_NETWORK)
def test_detect__another_class_list_and_back(name: str, networks: dict[str, Path], tmp_path: Path) -> None:
    """Check that other phrases can follow, although Ultralytics fuses the phrases into the network that predicts."""
    detector = with_text(networks[name], tmp_path).detector.load()
    images = odd_images()[1:2]
    (first,) = detector.detect(images, CLASSES, confidence_floor=0.05)
    swapped = (ClassPrompts("person", ("person",)), ClassPrompts("vehicle", ("a bus", "a red car")))
    (other,) = detector.detect(images, swapped, confidence_floor=0.05)
    assert {prompt for row, prompt in enumerate(other.prompts) if other.class_indices[row] == 0} == {"person"}
    np.testing.assert_allclose(other.confidences, first.confidences, atol=1e-4)
    (single,) = detector.detect(images, [ClassPrompts("dog", ("dog",))], confidence_floor=0.05)
    assert set(single.prompts) == {"dog"}
    (again,) = detector.detect(images, CLASSES, confidence_floor=0.05)
    assert_alike(first, again)


def test_detect__masks_keep_the_contract(networks: dict[str, Path], tmp_path: Path) -> None:
    detector = with_text(networks["yoloe-26n-seg"], tmp_path, output="masks").detector.load()
    found = assert_keeps_contract(detector, CLASSES, images=odd_images()[1:4:2], confidence_floor=0.3)
    assert all(len(detections.masks) and None not in detections.masks for detections in found)


def test_detect__masks_as_ultralytics_makes_them(networks: dict[str, Path], tmp_path: Path) -> None:
    image = odd_images()[0]
    detector: Any = with_text(networks["yoloe-26n-seg"], tmp_path / "masks", output="masks").detector.load()
    (found,) = detector.detect([image], CLASSES, confidence_floor=0.05)
    theirs: Any = import_yolo()(str(networks["yoloe-26n-seg"]))
    with torch.no_grad():
        vectors = theirs.model.model[-1].get_tpe(detector._phrases._text.embed(PHRASES))
    theirs.set_classes(PHRASES, vectors)
    settings = {"conf": 0.05, "iou": 0.7, "max_det": 300, "rect": False, "device": "cpu", "verbose": False}
    (result,) = theirs.predict([image[..., ::-1].copy()], retina_masks=True, **settings)
    order = np.argsort(-result.boxes.conf.numpy(), kind="stable")
    boxes = result.boxes.xyxy.numpy()[order]
    is_seen = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)  # a box thinner than a pixel is dropped
    order = order[is_seen]
    assert len(order) == len(found.masks) >= 40
    np.testing.assert_allclose(found.confidences, result.boxes.conf.numpy()[order], atol=1e-3)
    for row in range(40):
        mask, other = found.masks[row], Mask.of(result.masks.data[int(order[row])].numpy().astype(bool))
        assert mask is not None
        assert mask_iou(mask, other) >= 0.99
        np.testing.assert_allclose(found.boxes_xyxy[row], list(other.bounds_xyxy or ()), atol=1)
    # If masks are not requested, the boxes come from the network.
    plain = with_text(networks["yoloe-26n-seg"], tmp_path / "boxes").detector.load()
    (without,) = plain.detect([image], CLASSES, confidence_floor=0.05)
    (result,) = theirs.predict([image[..., ::-1].copy()], **settings)
    assert without.masks == (None,) * len(without.prompts)
    distances = np.abs(without.boxes_xyxy[:, None] - result.boxes.xyxy.numpy()[None]).max(axis=2)
    assert (distances.min(axis=1) <= 1e-3).all()


@pytest.mark.parametrize("name", ["yoloe-11n-seg", "yoloe-26n-seg"])
def test_detect__pictures_as_ultralytics_sees_them(name: str, networks: dict[str, Path], tmp_path: Path) -> None:
    """Compare exemplars with Ultralytics' visual prompts: a reference image with boxes and their classes."""
    image, example = odd_images()[0], odd_images(seed=1)[4]
    detector: Any = with_text(networks[name], tmp_path).detector.load()
    theirs: Any = import_yolo()(str(networks[name]))
    settings = {"conf": 0.05, "iou": 0.7, "max_det": 300, "rect": False, "device": "cpu", "verbose": False}
    corners = {"car": ((20.0, 30.0, 200.0, 180.0), (210.0, 200.0, 400.0, 390.0)), "bus": ((0.0, 0.0, 416.0, 416.0),)}
    prompts = {
        "bboxes": np.array([box for boxes in corners.values() for box in boxes]),
        "cls": np.array([index for index, boxes in enumerate(corners.values()) for _ in boxes]),
    }
    bgr, reference = image[..., ::-1].copy(), example[..., ::-1].copy()
    (result,) = theirs.predict([bgr], refer_image=reference, visual_prompts=prompts, **settings)
    exemplars = {
        "car": ExemplarImage("a", corners["car"], lambda: example),
        "bus": ExemplarImage("a", (), lambda: example),
    }
    classes = [ClassPrompts(name_of, (), (exemplar,)) for name_of, exemplar in exemplars.items()]
    (found,) = detector.detect([image], classes, confidence_floor=0.05)
    boxes = result.boxes.xyxy.numpy()
    seen = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1))  # a box thinner than a pixel is dropped
    order = seen[np.argsort(-result.boxes.conf.numpy()[seen], kind="stable")]
    assert len(order) == len(found.prompts) >= 10
    np.testing.assert_allclose(found.confidences, result.boxes.conf.numpy()[order], atol=1e-3)
    assert set(found.prompts) == {"car (images)", "bus (images)"}
    for box, confidence, index in zip(found.boxes_xyxy, found.confidences, found.class_indices, strict=True):
        of_class = order[result.boxes.cls.numpy()[order] == index]
        near = of_class[np.abs(result.boxes.conf.numpy()[of_class] - confidence) <= 1e-3]
        assert np.abs(boxes[near] - box).max(axis=1).min() <= 1e-3 * 640


def test_detect__words_and_pictures_of_a_yoloe(networks: dict[str, Path], tmp_path: Path) -> None:
    """Check that a class's pictures add one phrase, the mean of their vectors, and leave the words unchanged."""
    detector: Any = with_text(networks["yoloe-26n-seg"], tmp_path, output="masks").detector.load()
    first, second = odd_images(seed=1)[0], odd_images(seed=2)[4]
    pictures = (ExemplarImage("a", (), lambda: first), ExemplarImage("b", ((5, 5, 99, 99),), lambda: second))
    classes = (ClassPrompts("vehicle", ("a bus",), pictures), ClassPrompts("person", ("person",)))
    (found,) = detector.detect(odd_images()[1:2], classes, confidence_floor=0.05)
    assert set(found.prompts) >= {"a bus", "vehicle (images)"}
    assert None not in found.masks
    assert_well_formed(found, odd_images()[1], classes, 0.05)
    network, setter = detector._model.model, detector._phrases
    words = network.model[-1].get_tpe(setter._text.embed(["a bus", "person"]))
    np.testing.assert_allclose(network.pe[0, [0, 2]].numpy(), words[0].detach().numpy(), atol=1e-6)
    one, other = (setter._exemplars.embed([picture]).numpy() for picture in pictures)
    mean = (one + other) / np.linalg.norm(one + other)
    np.testing.assert_allclose(network.pe[0, 1].numpy(), mean, atol=1e-5)
    assert np.abs(one - other).max() > 1e-3


def test_check_classes__pictures_are_for_yoloe_alone(networks: dict[str, Path], tmp_path: Path) -> None:
    yoloe = with_text(networks["yoloe-26n-seg"], tmp_path / "yoloe").detector
    check_classes(yoloe.entry, CLASSES, ["person"])
    world = with_text(networks["yolov8n-worldv2"], tmp_path / "world").detector
    with pytest.raises(ConfigError, match=r"'person' has `images`, but detector 'own' does not accept exemplars"):
        check_classes(world.entry, CLASSES, ["person"])
    picture = ExemplarImage("a", (), lambda: odd_images()[0])
    with pytest.raises(ConfigError, match="since it is not a YOLOE"):
        world.load().detect(odd_images()[3:4], [ClassPrompts("person", (), (picture,))], confidence_floor=0.5)


def test_detect__masks_of_an_exported_yoloe(networks: dict[str, Path], tmp_path: Path) -> None:
    """Check that an exported file has its phrases as class names and gives the same masks as in Ultralytics."""
    path = Path(shutil.copy(networks["yoloe-26n-seg"], tmp_path))
    yoloe: Any = import_yolo()(str(path))
    yoloe.set_classes(PHRASES, torch.nn.functional.normalize(torch.randn(1, 3, 512), dim=-1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about tracing
        exported = Path(yoloe.export(format="onnx", imgsz=SIDE, simplify=False, verbose=False))
    role = provider_of(exported, output="masks").detector
    check_classes(role.entry, CLASSES)
    with pytest.raises(ConfigError, match="'dog' is not one of them"):
        check_classes(role.entry, [ClassPrompts("dog", ("dog",))])
    image = odd_images()[0]
    (found,) = role.load().detect([image], CLASSES, confidence_floor=0.05)
    assert_well_formed(found, image, CLASSES, 0.05)
    settings = {"conf": 0.05, "iou": 0.7, "max_det": 300, "rect": False, "device": "cpu", "verbose": False}
    theirs: Any = import_yolo()(str(exported), task="segment")
    (result,) = theirs.predict([image[..., ::-1].copy()], retina_masks=True, **settings)
    order = np.argsort(-result.boxes.conf.numpy(), kind="stable")
    for row in range(20):
        mask, other = found.masks[row], Mask.of(result.masks.data[int(order[row])].numpy().astype(bool))
        assert mask is not None
        assert mask_iou(mask, other) >= 0.99
        assert found.confidences[row] == pytest.approx(float(result.boxes.conf[order[row]]), abs=1e-3)


def test_load__masks_of_a_network_that_has_none(networks: dict[str, Path], tmp_path: Path) -> None:
    provider = provider_of(networks["yolov8n-worldv2"], text_model=f"file:{save_clip_text(tmp_path)}", output="masks")
    with pytest.raises(ModelError, match=r"yolov8n-worldv2\.pt is a network for the task 'detect', which has no masks"):
        provider.detector.load()
    with pytest.raises(ModelError, match=r"`options: \{output: outlines\}` is not supported; use one of `boxes`"):
        provider_of(networks["yoloe-26n-seg"], output="outlines").detector.load()


def test_detect__yolo_world_as_its_network_answers_to_clip(networks: dict[str, Path], tmp_path: Path) -> None:
    """Compare with a direct computation: transformers' CLIP and tokenizer, the bare network, and no post-processing."""
    import transformers

    detector = with_text(networks["yolov8n-worldv2"], tmp_path).detector.load()
    image = odd_images()[1]
    (found,) = detector.detect([image], CLASSES, confidence_floor=0.01)

    clip: Any = transformers.CLIPTextModelWithProjection.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    network = import_yolo()(str(networks["yolov8n-worldv2"])).model.eval()
    with torch.no_grad():
        vectors = clip(**tokenizer(PHRASES, padding=True, return_tensors="pt")).text_embeds
        network.txt_feats = torch.nn.functional.normalize(vectors, dim=-1)[None]
        network.model[-1].nc = len(PHRASES)
        scores = network(pixels_of(image)[None])[0][0, 4:]
    led = scores.where(scores == scores.amax(dim=0), 0).amax(dim=1).numpy()  # each box counts for its best phrase only
    best = [found.confidences[[prompt == phrase for prompt in found.prompts]].max() for phrase in PHRASES]
    np.testing.assert_allclose(best, led, atol=0.001)


def test_token_ids__as_mobileclip_was_traced(networks: dict[str, Path], tmp_path: Path) -> None:
    detector: Any = with_text(networks["yoloe-11n-seg"], tmp_path).detector.load()
    (ids,) = detector._phrases._text.token_ids(["A bus"]).numpy()
    # The tokenizer has no merges: each letter is one token, whose id is 256 higher at the end of a word.
    assert ids[0], ids[5] == (512, 513)
    assert ids[4] - 256 == ids[3] + ord("s") - ord("u")
    assert not ids[6:].any()
    assert len(ids) == 77
    with pytest.raises(ConfigError, match="has 82 tokens, but detector own reads at most 77"):
        detector.detect(odd_images()[3:4], [ClassPrompts("long", ("x" * 80,))], confidence_floor=0.5)


def test_load__a_text_half_that_is_not_there(networks: dict[str, Path], tmp_path: Path) -> None:
    world, yoloe = networks["yolov8n-worldv2"], networks["yoloe-26n-seg"]
    with pytest.raises(ModelError, match=r"put CLIP ViT-B/32 and its tokenizer into a folder .*text_model: file:"):
        provider_of(world).detector.load()
    with pytest.raises(ModelError, match=r"mobileclip2_b\.ts into a folder"):
        provider_of(yoloe).detector.load()
    with pytest.raises(ModelError, match=r"/none does not exist or is a folder without files"):
        provider_of(world, text_model=f"file:{tmp_path}/none").detector.load()
    with pytest.raises(ModelError, match=r"there is no file .*mobileclip2_b\.ts"):
        provider_of(yoloe, text_model=f"file:{save_clip_text(tmp_path / 'clip')}").detector.load()
    scripted = save_scripted_text(tmp_path / "scripted")
    with pytest.raises(ModelError, match=r"there is no file .*config\.json"):
        provider_of(world, text_model=f"file:{scripted}").detector.load()


def test_load__a_script_runs_code_and_wants_its_checksum(networks: dict[str, Path], tmp_path: Path) -> None:
    path = networks["yoloe-11n-seg"]
    script = save_scripted_text(tmp_path) / "mobileclip_blt.ts"
    with pytest.raises(ModelError, match=f"text_sha256: {sha256_of_file(script)}"):
        provider_of(path, text_model=f"file:{tmp_path}").detector.load()
    with pytest.raises(ModelError, match="instead of the pinned 0123"):
        provider_of(path, text_model=f"file:{tmp_path}", text_sha256="0123").detector.load()


def test_load__a_pinned_file_that_is_no_script(networks: dict[str, Path], tmp_path: Path) -> None:
    script = save_scripted_text(tmp_path) / "mobileclip_blt.ts"
    script.write_bytes(script.read_bytes()[:-1000])
    options = {"text_model": f"file:{tmp_path}", "text_sha256": sha256_of_file(script)}
    with pytest.raises(ModelError, match=r"mobileclip_blt\.ts is not a TorchScript file"):
        provider_of(networks["yoloe-11n-seg"], **options).detector.load()


def test_detect__text_half_of_another_length(networks: dict[str, Path], tmp_path: Path) -> None:
    script = save_scripted_text(tmp_path, dim=64) / "mobileclip_blt.ts"
    options = {"text_model": f"file:{tmp_path}", "text_sha256": sha256_of_file(script)}
    detector = provider_of(networks["yoloe-11n-seg"], **options).detector.load()
    with pytest.raises(ModelError, match="vectors of dimension 64 instead of 512"):
        detector.detect(odd_images()[3:4], CLASSES, confidence_floor=0.5)


def test_fingerprint__follows_the_text_half_not_its_folder(networks: dict[str, Path], tmp_path: Path) -> None:
    path = networks["yolov8n-worldv2"]
    first = provider_of(path, text_model=f"file:{save_clip_text(tmp_path / 'a')}").detector.fingerprint
    assert provider_of(path, text_model=f"file:{save_clip_text(tmp_path / 'b')}").detector.fingerprint == first
    (tmp_path / "b" / "config.json").write_text("{}")
    assert provider_of(path, text_model=f"file:{tmp_path / 'b'}").detector.fingerprint != first
