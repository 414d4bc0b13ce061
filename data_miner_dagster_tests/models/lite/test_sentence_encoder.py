"""The sentence encoder gives the bits of transformers' network and tokenizer, and needs neither."""

import sys
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.lite.sentence_encoder import SENTENCE_DIM, SentenceEncoder
from data_miner_dagster.models.packages import missing_packages, package_folder
from data_miner_dagster.models.pins import MINILM

SENTENCES = (
    "a bicycle",
    "",
    "a photo of a car on the street, and of two people beside it",
    "Café ÜBER 你好 naïve 😀",
    "x" * 300,
    "word " * 700,
    "[MASK] it's [PAD]\t... don't!\n",
)


@pytest.fixture(scope="module")
def folder() -> Path:
    if missing_packages([MINILM]):
        pytest.skip("the lite weights are not in the model cache: `data-miner models fetch --profile lite`")
    return package_folder(MINILM)


@pytest.mark.models
def test_embed__without_transformers_as_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    monkeypatch.setitem(sys.modules, "transformers", None)
    encoder = SentenceEncoder.load(folder)
    found = encoder.embed(SENTENCES)
    monkeypatch.undo()
    by_length = sorted(SENTENCES, key=len)
    tokens = tokenizer(by_length, padding=True, truncation=True, return_tensors="pt")
    mask = tokens["attention_mask"].unsqueeze(-1)
    with torch.inference_mode():
        sums = (network(**tokens).last_hidden_state * mask).sum(dim=1)
        expected = torch.nn.functional.normalize(sums / mask.sum(dim=1), dim=1).numpy()
    np.testing.assert_array_equal(found, expected[[by_length.index(sentence) for sentence in SENTENCES]])
    alone = encoder.embed(SENTENCES[:1])
    np.testing.assert_allclose(alone[0], found[0], atol=1e-6)
    assert encoder.embed([]).shape == (0, SENTENCE_DIM)


@pytest.mark.models
@pytest.mark.parametrize("content", [None, b"", b"{}"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_load__a_folder_without_an_encoder(folder: Path, tmp_path: Path, name: str, content: bytes | None) -> None:
    for path in folder.iterdir():
        if path.name != name:
            (tmp_path / path.name).symlink_to(path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match="does not contain a sentence encoder"):
        SentenceEncoder.load(tmp_path)
