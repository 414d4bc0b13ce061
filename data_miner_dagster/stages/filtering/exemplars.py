"""Combine the words of a prompt and its exemplars into one similarity. Pure functions, no model.

A frame's raw similarity is the weighted mean of its cosine to the words and its mean cosine to the exemplars. Cosines
between pictures have a different range from cosines between pictures and words, and this range depends on the encoder,
so no threshold fits the raw value. The exemplars show the range: each is compared with the words and with the *other*
exemplars, as a frame would be. The raw value is shifted so that the least typical exemplar gets the encoder's own
threshold for words. A frame then passes at that threshold if it is at least as close to the words and the exemplars as
the least typical exemplar is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_miner_dagster.domain.records import Float32Array


@dataclass(frozen=True, slots=True)
class ExemplarVectors:
    """The unit vectors of a prompt's exemplars: (E, D) from the image-text encoder, (E, X) from the picture encoder."""

    by_words_encoder: Float32Array
    by_picture_encoder: Float32Array


@dataclass(frozen=True, slots=True)
class PromptScores:
    """Computes the similarities of pictures to P prompts.

    It multiplies a picture's vector from the image-text encoder by `words` (P, D). If any prompt has exemplars, it adds
    `offsets` (P,), and the product of `pictures` (P, X) and the picture's vector from the picture encoder, which may be
    the same encoder.
    """

    words: Float32Array
    pictures: Float32Array
    offsets: Float32Array
    has_exemplars: bool

    def similarities(self, vectors: Float32Array, picture_vectors: Float32Array | None = None) -> Float32Array:
        """Return the (N, P) similarities of N pictures to the P prompts, from -1 to 1.

        Args:
            vectors: (N, D) unit vectors from the image-text encoder.
            picture_vectors: (N, X) unit vectors from the picture encoder, or None if it is the image-text encoder.
        """
        products: Float32Array = vectors @ self.words.T
        if not self.has_exemplars:  # words alone: the cosines, unchanged
            return products
        beside: Float32Array = (vectors if picture_vectors is None else picture_vectors) @ self.pictures.T
        clipped: Float32Array = np.clip(products + beside + self.offsets, -1, 1)
        return clipped


def words_alone(words: Float32Array) -> PromptScores:
    """Return the scorer for prompts that have no exemplars. `words` is (P, D)."""
    return PromptScores(words, np.zeros((len(words), 1), np.float32), np.zeros(len(words), np.float32), False)


def score_prompts_of(
    words: Float32Array, exemplars: Sequence[ExemplarVectors | None], *, weight: float, threshold: float
) -> PromptScores:
    """Return the scorer for prompts with and without exemplars.

    Args:
        words: (P, D) unit vectors of the words of each prompt.
        exemplars: the exemplars of each prompt, at least two, or None for a prompt without exemplars.
        weight: the weight of exemplars in the similarity to a prompt that has any, from 0 to 1.
        threshold: the image-text encoder's own threshold for words.
    """
    width = next((one.by_picture_encoder.shape[1] for one in exemplars if one is not None), 1)
    shares, pictures = np.ones((len(words), 1), np.float32), np.zeros((len(words), width), np.float32)
    offsets = np.zeros(len(words), np.float32)
    for position, beside in enumerate(exemplars):
        if beside is not None:
            shares[position] = 1 - weight
            pictures[position] = weight * beside.by_picture_encoder.mean(axis=0)
            offsets[position] = threshold - _least_typical(words[position], beside, weight)
    has_exemplars = any(beside is not None for beside in exemplars)
    return PromptScores((words * shares).astype(np.float32), pictures, offsets, has_exemplars)


def _least_typical(words: Float32Array, exemplars: ExemplarVectors, weight: float) -> float:
    """Return the lowest raw similarity of an exemplar to the words and the other exemplars."""
    pictures = exemplars.by_picture_encoder
    among = pictures @ pictures.T
    to_others = (among.sum(axis=1) - np.diag(among)) / (len(pictures) - 1)
    return float(((1 - weight) * (exemplars.by_words_encoder @ words) + weight * to_others).min())
