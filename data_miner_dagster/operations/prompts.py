"""Embeddings of prompts by the filter encoder, computed once per text and encoder.

The model is loaded only if a text has not been embedded before: changing thresholds, or moving a prompt from one set
to another, needs none.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from data_miner_dagster.domain.errors import DamagedFileError, ModelError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.models.provider import ModelRole
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.encoders import ImageTextEncoder
from data_miner_dagster.storage.damage import reading
from data_miner_dagster.storage.vectors import read_arrays, write_arrays

_SHORTEST: Final = 1e-6

logger = logging.getLogger(__name__)


def embed_prompts(platform: Platform, texts: Sequence[str], templates: Sequence[str] = ("{}",)) -> Float32Array:
    """Return (P, D) unit vectors, one a text, from the store where they are there.

    Raises:
        ModelError: the sentences of one prompt cancel out, or the model is missing.
    """
    encoder = platform.models.filter_encoder
    return mean_over_templates(
        lambda sentence: _embed_sentence(platform, encoder, sentence), texts, templates, encoder.name
    )


def mean_over_templates(
    embed_sentence: Callable[[str], Float32Array], texts: Sequence[str], templates: Sequence[str], encoder_name: str
) -> Float32Array:
    """Return (P, D) unit vectors: of each text, the normalised mean over the templates.

    Source: Radford et al. 2021, "Learning transferable visual models from natural language supervision", section
    3.1.4, prompt ensembling.

    Raises:
        ModelError: the sentences of one prompt cancel out.
    """
    vectors = []
    for text in texts:
        mean = np.mean([embed_sentence(template.replace("{}", text)) for template in templates], axis=0)
        length = float(np.linalg.norm(mean))
        if length < _SHORTEST:
            raise ModelError(f"encoder {encoder_name!r} finds no meaning in prompt {text!r}; put it in other words")
        vectors.append((mean / length).astype(np.float32))
    return np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)


def _embed_sentence(platform: Platform, encoder: ModelRole[ImageTextEncoder], sentence: str) -> Float32Array:
    # One sentence a call, so that its vector does not depend on which others were new at the time.
    digest = fingerprint_of({"encoder": encoder.fingerprint, "text": sentence})
    path = platform.layout.prompt_embedding_file(encoder.name, digest)
    if (stored := _read_vector(path)) is not None:
        return stored
    logger.info("embedding prompt %r with %s", sentence, encoder.name)
    vector: Float32Array = encoder.load().embed_texts([sentence])[0].astype(np.float32)
    write_arrays(path, vector=vector)
    return vector


def _read_vector(path: Path) -> Float32Array | None:
    """Return a stored vector, None where there is none that can be read."""
    vector: Float32Array
    try:
        (vector,) = read_arrays(path, "vector")
        return vector
    except (FileNotFoundError, DamagedFileError):
        pass
    earlier = path.with_suffix(".npy")  # version 0.1.0 kept a bare array, without a checksum
    try:
        with reading(earlier):
            vector = np.load(earlier, allow_pickle=False)
    except (FileNotFoundError, DamagedFileError):
        return None
    return vector if vector.dtype == np.float32 and vector.ndim == 1 and np.isfinite(vector).all() else None
