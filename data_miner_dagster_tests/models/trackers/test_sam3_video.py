"""Compare SAM 3's video mode, the real class with random weights, with transformers' own session and processor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.records import ClassPrompts, RgbImage
from data_miner_dagster.models.detectors.sam3 import Sam3Detector
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.trackers.sam3_video import Sam3VideoTracker
from data_miner_dagster_tests.support.tiny_detectors import save_sam3, save_sam3_video

CLASSES = (ClassPrompts("car", ("car", "a red taxi")), ClassPrompts("person", ("a person",)))
PROMPTS = ["car", "a red taxi", "a person"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam3_video(tmp_path_factory.mktemp("sam3-video"))


def provider_of(folder: Path, **more: Any) -> ModelProvider:
    entry = {"architecture": "sam3", "source": f"file:{folder}", **more}
    return ModelProvider(ModelsConfig.model_validate({"registry": {"own": entry}, "device": "cpu"}))


@pytest.fixture(scope="module")
def tracker(folder: Path) -> Sam3VideoTracker:
    loaded = provider_of(folder).video_tracker("own").load()
    assert isinstance(loaded, Sam3VideoTracker)
    return loaded


def clip(num_frames: int) -> list[RgbImage]:
    """Return drifting frames, the middle one of which is dark."""
    first = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    frames = [np.roll(first, 3 * number, axis=1) for number in range(num_frames)]
    frames[num_frames // 2] = np.zeros_like(first)
    return frames


def num_stored(session: Any) -> int:
    """Return how many numbers a transformers session stores."""
    frames = [] if session.processed_frames is None else list(session.processed_frames.values())
    outputs = [
        value
        for of_object in session.output_dict_per_obj.values()
        for of_frames in of_object.values()
        for output in of_frames.values()
        for value in output.values()
    ]
    return sum(tensor.numel() for tensor in (*frames, *outputs))


def test_look_at__as_its_own_session_and_processor(tracker: Sam3VideoTracker) -> None:
    """The clip is long enough for memories to be dropped and for detections to confirm some of them."""
    processor, num_objects, num_boxes, num_confirmed = tracker.processor, 0, 0, 0
    ours, theirs = tracker.start(CLASSES), processor.init_video_session()
    processor.add_text_prompt(theirs, PROMPTS)
    for image in clip(11):
        seen = ours.look_at(image)
        inputs = processor(images=image, return_tensors="pt")
        outputs = tracker.network(inference_session=theirs, frame=inputs.pixel_values[0])
        found = processor.postprocess_outputs(theirs, outputs, original_sizes=inputs.original_sizes)
        phrase_by_number = {number: text for text, those in found["prompt_to_obj_ids"].items() for number in those}
        rows = [row for row, mask in enumerate(found["masks"]) if mask.any()]
        assert [each.number for each in seen] == found["object_ids"][rows].tolist()
        for each, row in zip(seen, rows, strict=True):
            assert each.mask is not None
            assert (each.mask.pixels() == found["masks"][row].numpy()).all()
            assert each.confidence == pytest.approx(found["scores"][row].item(), abs=1e-3)
            assert each.prompt == phrase_by_number[each.number]
            assert each.class_index == (0 if each.prompt in CLASSES[0].prompts else 1)
            assert each.box_xyxy == each.mask.bounds_xyxy
            # Their box ends at its last pixel, and was made before each shared pixel was assigned to one object.
            num_boxes += np.allclose(np.add(found["boxes"][row].numpy(), [0, 0, 1, 1]), each.box_xyxy, atol=1e-3)
        num_objects += len(seen)
        stored = theirs.output_dict_per_obj.values()
        num_confirmed = max(num_confirmed, *(len(of_object["cond_frame_outputs"]) for of_object in stored))
    assert num_objects >= 50
    assert num_boxes >= 50
    assert num_confirmed > tracker.network.config.tracker_config.max_cond_frame_num, "memories are chosen from"
    assert num_stored(ours._session) < num_stored(theirs) / 4


def test_look_at__memory_does_not_grow_with_the_number_of_frames(tracker: Sam3VideoTracker) -> None:
    session, per_object = tracker.start(CLASSES[1:]), list[float]()
    image = clip(3)[0]
    for _ in range(12):
        session.look_at(image)
        per_object.append(num_stored(session._session) / len(session._session.obj_ids))
    assert max(per_object[8:]) <= 1.1 * max(per_object[:8])


def test_look_at__a_phrase_without_a_hit_and_a_clip_without_an_object(
    tracker: Sam3VideoTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = clip(4)[:2]
    best = dict.fromkeys(PROMPTS, 0.0)
    for each in tracker.start(CLASSES).look_at(first):
        best[each.prompt] = max(best[each.prompt], each.confidence)
    rarest = min(best, key=lambda prompt: best[prompt])
    monkeypatch.setattr(tracker.network, "score_threshold_detection", best[rarest] + 1e-4)
    seen = tracker.start(CLASSES).look_at(first)
    assert {each.prompt for each in seen} == {*PROMPTS} - {rarest}
    monkeypatch.setattr(tracker.network, "score_threshold_detection", 1.1)
    session = tracker.start(CLASSES)
    assert [session.look_at(first), session.look_at(second)] == [[], []]


def test_start__phrases_are_embedded_once_and_never_cut_short(
    tracker: Sam3VideoTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_texts: list[int] = []
    encoder = tracker.network.detector_model.text_encoder
    read = encoder.forward

    def counted(**texts: Any) -> Any:
        num_texts.append(len(texts["input_ids"]))
        return read(**texts)

    monkeypatch.setattr(encoder, "forward", counted)
    tracker.embedded.clear()
    for _ in range(2):
        tracker.start(CLASSES[1:]).look_at(clip(2)[0])
    assert num_texts == [1]
    with pytest.raises(ConfigError, match=r"has 33 tokens, but tracker own reads at most 32; shorten the phrase"):
        tracker.start([ClassPrompts("long", (" ".join(["car"] * 31),))])


def test_video_tracker__from_the_checkpoint_that_the_detector_loads(folder: Path, tracker: Sam3VideoTracker) -> None:
    provider = provider_of(folder)
    role = provider.video_tracker("own")
    assert role.fingerprint == tracker.fingerprint
    assert role.fingerprint != provider.detectors(["own"])[0].fingerprint
    assert role.fingerprint != provider_of(folder, revision="0123abcd").video_tracker("own").fingerprint
    detector = provider.detectors(["own"])[0].load()
    assert isinstance(detector, Sam3Detector)
    theirs = tracker.network.detector_model.state_dict()
    assert all(torch.equal(weights, theirs[name]) for name, weights in detector.network.state_dict().items())


def test_check_tracker_available__the_wrong_checkpoint_is_one_line(tmp_path: Path) -> None:
    provider = provider_of(save_sam3(tmp_path / "image"))
    with pytest.raises(ModelError, match=r"is of type 'sam3' \(Sam3Model\).*; choose a checkpoint of type sam3_video$"):
        provider.check_tracker_available("own")
    with pytest.raises(ModelError, match="choose a checkpoint of type sam3_video"):
        provider.video_tracker("own").load()
    with pytest.raises(ConfigError, match=r"'owlv2' has architecture 'owlv2', which does not follow objects"):
        ModelProvider(
            ModelsConfig.model_validate({"registry": {"owlv2": {"architecture": "owlv2", "source": "hf:a/b"}}})
        ).video_tracker("owlv2")
    with pytest.raises(ConfigError, match=r"tracker_model\): the licence|the licence of sam3"):
        ModelProvider(ModelsConfig.model_validate({"allowed_licences": ["Apache-2.0"]})).check_tracker_available("sam3")
