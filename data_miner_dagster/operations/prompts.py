"""Embed prompts and their exemplars. Each text or exemplar is embedded once by each encoder.

A model is loaded only for a text or picture that it has not embedded before. Changing thresholds, or moving a prompt
from one set to another, loads no model.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.domain.errors import ConfigError, DamagedFileError, ModelError, UnreadableImageError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import Float32Array, PictureFile
from data_miner_dagster.models.provider import EncoderRole, ModelProvider, ModelRole
from data_miner_dagster.operations.exemplars import Exemplar
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.encoders import ImageTextEncoder
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster.stages.filtering.exemplars import ExemplarVectors, PromptScores, score_prompts_of, words_alone
from data_miner_dagster.storage.damage import reading
from data_miner_dagster.storage.vectors import read_arrays, write_arrays

if TYPE_CHECKING:
    from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures

_SHORTEST: Final = 1e-6

logger = logging.getLogger(__name__)


def embed_prompts(platform: Platform, texts: Sequence[str], templates: Sequence[str] = ("{}",)) -> Float32Array:
    """Return (P, D) float32 unit vectors: for each text, the normalized mean of its vectors in all `templates`.

    Stored vectors of sentences are reused, and new ones are stored. Without texts, the shape is (0, 0).

    Raises:
        ModelError: the vectors of a prompt's sentences cancel out, or the model is missing.
    """
    encoder = platform.models.filter_encoder
    return mean_over_templates(
        lambda sentence: _embed_sentence(platform, encoder, sentence), texts, templates, encoder.name
    )


@dataclass(frozen=True, slots=True)
class WantedPrompts:
    """The prompts of a project, and their exemplars by prompt text."""

    config: FilteringConfig
    exemplars: Mapping[str, Sequence[Exemplar]] = field(default_factory=dict)


def score_prompts(
    platform: Platform, config: FilteringConfig, texts: Sequence[str], exemplars: Mapping[str, Sequence[Exemplar]]
) -> PromptScores:
    """Return the `PromptScores` that compare pictures with each text and its exemplars.

    Raises:
        ConfigError: an exemplar is missing, has changed in the meantime, or is not a picture.
        ModelError: the vectors of a prompt's sentences cancel out, or a model is missing.
    """
    words = embed_prompts(platform, texts, config.templates)
    if not exemplars:
        return words_alone(words)
    # Imported here, because comparing texts does not need OpenCV.
    from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures

    beside = picture_encoder(platform.models, config)
    with StoredPictures(platform.config.extraction) as pictures:

        def embed(exemplar: Exemplar, encoder: EncoderRole) -> Float32Array:
            return _embed_exemplar(platform, encoder, exemplar, pictures)

        return combined(config, (texts, words), exemplars, embed, (platform.models.filter_encoder, beside))


def picture_encoder(models: ModelProvider, config: FilteringConfig) -> EncoderRole | None:
    """Return the encoder that compares pictures with exemplars, or None if that is the filter encoder.

    Without exemplars, the result is also None.
    """
    role = models.encoder(config.exemplar_encoder) if config.exemplar_paths else models.filter_encoder
    return None if role.fingerprint == models.filter_encoder.fingerprint else role


def combined(
    config: FilteringConfig,
    prompts: tuple[Sequence[str], Float32Array],
    exemplars: Mapping[str, Sequence[Exemplar]],
    embed: Callable[[Exemplar, EncoderRole], Float32Array],
    encoders: tuple[ModelRole[ImageTextEncoder], EncoderRole | None],
) -> PromptScores:
    """Return the `PromptScores` of prompts, given their texts, the vectors of the texts, and exemplars.

    `prompts` is the pair of the texts and their vectors. `embed` returns the vector of an exemplar. `encoders` is the
    pair of the filter encoder and the encoder that compares pictures with exemplars. The second is None if both are the
    same.
    """
    filter_encoder, pictures = encoders

    def vectors_of(text: str) -> ExemplarVectors | None:
        beside = exemplars.get(text, ())
        if not beside:
            return None
        by_words = np.stack([embed(exemplar, filter_encoder) for exemplar in beside])
        if pictures is None:
            return ExemplarVectors(by_words, by_words)
        return ExemplarVectors(by_words, np.stack([embed(exemplar, pictures) for exemplar in beside]))

    texts, words = prompts
    return score_prompts_of(
        words,
        [vectors_of(text) for text in texts],
        weight=config.exemplar_weight,
        threshold=filter_encoder.calibration.positive_threshold,
    )


def mean_over_templates(
    embed_sentence: Callable[[str], Float32Array], texts: Sequence[str], templates: Sequence[str], encoder_name: str
) -> Float32Array:
    """Return (P, D) float32 unit vectors: for each text, the normalized mean of its vectors in all templates.

    Without texts, the shape is (0, 0).

    Source: Radford et al. 2021, "Learning transferable visual models from natural language supervision", section
    3.1.4, prompt ensembling.

    Raises:
        ModelError: the vectors of a prompt's sentences cancel out.
    """
    vectors = []
    for text in texts:
        mean = np.mean([embed_sentence(template.replace("{}", text)) for template in templates], axis=0)
        length = float(np.linalg.norm(mean))
        if length < _SHORTEST:
            raise ModelError(
                f"the vectors that {encoder_name!r} computes for the sentences of prompt {text!r} cancel out; rephrase "
                "the prompt"
            )
        vectors.append((mean / length).astype(np.float32))
    return np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)


def _embed_sentence(platform: Platform, encoder: ModelRole[ImageTextEncoder], sentence: str) -> Float32Array:
    # One sentence per call, because its vector would otherwise depend on the other sentences of the batch.
    digest = fingerprint_of({"encoder": encoder.fingerprint, "text": sentence})
    path = platform.layout.prompt_embedding_file(encoder.name, digest)
    if (stored := _read_vector(path)) is not None:
        return stored
    logger.info("embedding prompt %r with %s", sentence, encoder.name)
    vector: Float32Array = encoder.load().embed_texts([sentence])[0].astype(np.float32)
    write_arrays(path, vector=vector)
    return vector


def _embed_exemplar(
    platform: Platform, encoder: EncoderRole, exemplar: Exemplar, pictures: "StoredPictures"
) -> Float32Array:
    digest = fingerprint_of({"encoder": encoder.fingerprint, "image": exemplar.sha256})
    path = platform.layout.prompt_embedding_file(encoder.name, digest)
    if (stored := _read_vector(path)) is not None:
        return stored
    logger.info("embedding exemplar %s with %s", exemplar.name, encoder.name)
    try:
        image = pictures.read(PictureFile(exemplar.path, is_foreign=True), exemplar.sha256)
    except UnreadableImageError as error:
        raise ConfigError(
            f"filtering: exemplar {exemplar.name} cannot be read ({error}); correct or replace the file, then run again"
        ) from error
    # One picture per call, because its vector would otherwise depend on the other pictures of the batch.
    vector: Float32Array = embed_images(encoder.load(), [image])[0].astype(np.float32)
    write_arrays(path, vector=vector)
    return vector


def _read_vector(path: Path) -> Float32Array | None:
    """Return a stored vector, or None if it is missing or unreadable."""
    vector: Float32Array
    try:
        (vector,) = read_arrays(path, "vector")
        return vector
    except (FileNotFoundError, DamagedFileError):
        pass
    earlier = path.with_suffix(".npy")  # version 0.1.0 stored a bare array, without a checksum
    try:
        with reading(earlier):
            vector = np.load(earlier, allow_pickle=False)
    except (FileNotFoundError, DamagedFileError):
        return None
    return vector if vector.dtype == np.float32 and vector.ndim == 1 and np.isfinite(vector).all() else None
