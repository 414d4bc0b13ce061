"""Test Qwen3-VL as a tiny random network of its real class: real processor and generation, meaningless answers."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.domain.verification import VerifierVerdict
from data_miner_dagster.models.provider import ModelProvider, VerifierRole
from data_miner_dagster.models.verifiers.qwen3_vl import MAX_NEW_TOKENS
from data_miner_dagster.operations.verification.local_verifier import LocalVerifier
from data_miner_dagster.operations.verification.replies import Crop, Reply
from data_miner_dagster.protocols.verifiers import CropVerifier
from data_miner_dagster.stages.verification.answers import answer_of
from data_miner_dagster.stages.verification.questions import prompt_of
from data_miner_dagster_tests.support.tiny_verifiers import save_tiny_qwen3_vl

SIZES = ((64, 96), (112, 64), (64, 64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen3_vl(tmp_path_factory.mktemp("qwen") / "tiny")


@pytest.fixture(scope="module")
def role(folder: Path) -> VerifierRole:
    entry = {"architecture": "qwen3-vl", "source": f"file:{folder}"}
    return ModelProvider(ModelsConfig.model_validate({"device": "cpu", "registry": {"tiny": entry}})).verifier("tiny")


@pytest.fixture(scope="module")
def questions() -> list[tuple[RgbImage, str]]:
    config = DetectionConfig.model_validate({"classes": {"dog": [], "car": ["taxi"]}, "verifier": {"model": "tiny"}})
    assert config.verifier is not None
    prompts = [prompt_of(wanted, config.verifier) for wanted in config.class_prompts]
    draw = np.random.default_rng(3)
    pictures = [draw.integers(0, 255, (*size, 3), dtype=np.uint8) for size in SIZES]
    return list(zip(pictures, [prompts[0], prompts[1], "no?"], strict=True))


@pytest.fixture(scope="module")
def answers(role: VerifierRole, questions: list[tuple[RgbImage, str]]) -> list[str]:
    model = role.load()
    assert isinstance(model, CropVerifier)
    assert model.fingerprint == role.fingerprint
    return model.answer(*map(list, zip(*questions, strict=True)))


def test_answer__as_the_library_alone_generates_it(
    folder: Path, questions: list[tuple[RgbImage, str]], answers: list[str]
) -> None:
    processor = transformers.AutoProcessor.from_pretrained(folder)
    network = transformers.Qwen3VLForConditionalGeneration.from_pretrained(folder).eval()
    for (rgb, prompt), answer in zip(questions, answers, strict=True):
        text = (
            f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{prompt}<|im_end|>\n<|im_start|>assistant\n"
        )
        inputs = processor(text=[text], images=[Image.fromarray(rgb)], return_tensors="pt")
        with torch.inference_mode():
            made = network.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        alone = processor.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert alone == [answer]


def test_answer__of_a_random_network_is_cannot_tell(answers: list[str]) -> None:
    assert len(set(answers)) > 1
    assert {answer_of(text).verdict for text in answers} == {VerifierVerdict.CANNOT_TELL}


def test_local_verifier__keeps_answers_before_it_tells_them(
    role: VerifierRole, questions: list[tuple[RgbImage, str]], answers: list[str]
) -> None:
    crops = [Crop(f"key-{number}", "files-a", prompt, rgb) for number, (rgb, prompt) in enumerate(questions)]
    kept: list[Reply] = []
    replies = []
    for reply in LocalVerifier(role, batch_size=2).replies(iter(crops), kept.extend):
        assert reply in kept
        replies.append(reply)
    assert [reply.crop.question_key for reply in replies] == ["key-0", "key-1", "key-2"]
    assert [reply.answer for reply in replies] == [answer_of(text) for text in answers]


def test_load__a_folder_that_holds_another_network(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "siglip", "architectures": ["SiglipModel"]}')
    entry = {"architecture": "qwen3-vl", "source": f"file:{tmp_path}"}
    models = ModelProvider(ModelsConfig.model_validate({"registry": {"tiny": entry}}))
    with pytest.raises(ModelError, match="is of type 'siglip'"):
        models.check_verifier_available("tiny")
