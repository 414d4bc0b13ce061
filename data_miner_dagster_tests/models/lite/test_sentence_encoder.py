"""Compare the sentence encoder with transformers' own forward pass over the same weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.models.lite.sentence_encoder import SENTENCE_DIM, SentenceEncoder
from data_miner_dagster.models.packages import package_folder
from data_miner_dagster.models.pins import MINILM

pytestmark = pytest.mark.models

SENTENCES = (
    "a dog",
    "",
    "A MAN riding a bicycle, in the rain!",
    "Zürich cafe\u0301 \u4e2d\u6587 \U0001f6b2",
    "one two three four " * 40,
    "more tokens than the network has positions for " * 90,
)


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder.load(package_folder(MINILM))


def _by_transformers(sentence: str) -> Float32Array:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = package_folder(MINILM)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    with torch.inference_mode():
        tokens = tokenizer([sentence], truncation=True, return_tensors="pt")
        means = network(**tokens).last_hidden_state.mean(dim=1)
        vector: Float32Array = torch.nn.functional.normalize(means, dim=1).numpy()[0]
    return vector


def test_embed__nothing(encoder: SentenceEncoder) -> None:
    assert encoder.embed([]).shape == (0, SENTENCE_DIM)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_embed__as_transformers(encoder: SentenceEncoder, sentence: str) -> None:
    np.testing.assert_allclose(encoder.embed([sentence])[0], _by_transformers(sentence), atol=1e-6)


def test_embed__a_vector_does_not_depend_on_the_other_sentences(encoder: SentenceEncoder) -> None:
    together = encoder.embed(SENTENCES)
    assert all(
        np.array_equal(encoder.embed([sentence])[0], row) for sentence, row in zip(SENTENCES, together, strict=True)
    )
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)


@pytest.mark.usefixtures("encoder")  # the fixture puts the graph into the model cache
def test_load__imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from data_miner_dagster.models.lite.sentence_encoder import SentenceEncoder as S; "
        "from data_miner_dagster.models import packages, pins; "
        "print(S.load(packages.package_folder(pins.MINILM)).embed(['a dog']).shape); "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(1, 384)", "set()"]


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_load__a_folder_that_lacks_a_file(tmp_path: Path, missing: str) -> None:
    for path in package_folder(MINILM).iterdir():
        if path.name != missing:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(ModelError, match=rf"{tmp_path} does not contain a sentence encoder \(.*{missing}"):
        SentenceEncoder.load(tmp_path)


def test_load__a_cache_that_cannot_be_written_is_not_blamed_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = package_folder(MINILM), tmp_path / "cache"
    cache.write_bytes(b"")
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(cache))
    with pytest.raises(NotADirectoryError):
        SentenceEncoder.load(folder)
