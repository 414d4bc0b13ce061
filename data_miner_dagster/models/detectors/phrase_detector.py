"""Code shared by open-vocabulary detectors from transformers: phrases, chunks, and one phrase per box.

Belongs here: everything except the network. Does not belong here: how one architecture scores phrases (its own module).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import ClassPrompts, ExemplarImage, Float32Array, ImageDetections, RgbImage
from data_miner_dagster.models.boxes import detections_from_candidates
from data_miner_dagster.models.detectors.hub_detector import HubDetector, load_pretrained
from data_miner_dagster.models.hub import check_network, hub_errors, pretrained_location
from data_miner_dagster.models.registry import ModelEntry

Kind = TypeVar("Kind", bound="PhraseDetector")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase of a class, or all exemplars of the class. In results, `prompt` stands for the phrase or exemplars."""

    class_index: int
    prompt: str
    exemplars: tuple[ExemplarImage, ...] = ()
    class_name: str = ""  # for error messages about the exemplars


def phrases_of(classes: Sequence[ClassPrompts]) -> list[Phrase]:
    """Return the phrases of each class, followed by its exemplars as a single phrase, in the order of the classes."""
    phrases = []
    for index, wanted in enumerate(classes):
        phrases += [Phrase(index, prompt) for prompt in wanted.prompts]
        if wanted.exemplars:
            phrases += [Phrase(index, wanted.exemplar_prompt, wanted.exemplars, wanted.class_name)]
    return phrases


@dataclass(frozen=True, slots=True)
class ScoredBoxes:
    """The candidates of one image: boxes (Q, 4) in absolute pixels, and a score for each box and phrase (Q, P)."""

    boxes_xyxy: Float32Array
    phrase_scores: Float32Array


@dataclass(frozen=True, slots=True)
class Candidates:
    """The boxes (N, 4) of one image in absolute pixels, their confidences (N,), and the indices (N,) of their phrases.

    If the network predicts masks, `masks` has a function for each box that computes the box's mask; otherwise it is
    empty. Masks are not computed in advance, since most boxes are not kept.
    """

    boxes_xyxy: Float32Array
    confidences: Float32Array
    columns: npt.NDArray[np.intp]
    masks: Sequence[Callable[[], Mask]] = ()

    @classmethod
    def joined(cls, parts: "Sequence[Candidates]") -> "Candidates":
        """Join the candidates of one or more passes. Either all of `parts` or none must have masks."""
        return cls(
            np.concatenate([part.boxes_xyxy for part in parts]),
            np.concatenate([part.confidences for part in parts]),
            np.concatenate([part.columns for part in parts]),
            [mask for part in parts for mask in part.masks],
        )


class PhraseDetector(HubDetector):
    """Implements ObjectDetector. Each candidate box belongs to one phrase, so labels are never merged."""

    def __init__(
        self, network: Any, image_processor: Any, *, tokenizer: Any, name: str, fingerprint: str, device: str
    ) -> None:
        super().__init__(network, image_processor, name=name, fingerprint=fingerprint, device=device)
        self.tokenizer = tokenizer

    @property
    def context_length(self) -> int:
        """The maximum number of tokens per text, for networks with CLIP's text encoder."""
        return int(self.network.config.text_config.max_position_embeddings)

    @abstractmethod
    def num_tokens(self, prompt: str) -> int:
        """Return the number of tokens that a phrase takes, including any separator.

        Raises:
            ConfigError: the phrase contains no words, or more tokens than the text encoder reads.
        """

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """The maximum total number of tokens in the phrases of one forward pass."""

    @abstractmethod
    def candidates_of(
        self, images: Sequence[RgbImage], prompts: Sequence[str], *, confidence_floor: float
    ) -> list[Candidates]:
        """Return, for each image, the candidates at or above `confidence_floor`.

        All phrases together must not have more than `max_tokens` tokens.
        """

    def candidates_of_phrases(
        self, images: Sequence[RgbImage], phrases: Sequence[Phrase], *, confidence_floor: float
    ) -> list[Candidates]:
        """Return, for each image, the candidates at or above `confidence_floor`.

        Detectors that accept exemplars override this method.

        Raises:
            ConfigError: a class has exemplars, which this detector does not accept.
        """
        for phrase in phrases:
            if phrase.exemplars:
                raise ConfigError(
                    f"detection.classes: class {phrase.class_name!r} has `images`, but detector {self.name!r} does not "
                    "accept exemplars; remove them and describe the class in words, or choose OWLv2 or a YOLOE"
                )
        prompts = [phrase.prompt for phrase in phrases]
        return self.candidates_of(images, prompts, confidence_floor=confidence_floor)

    def length_of(self, phrase: Phrase) -> int:
        """Return the number of tokens to reserve for a phrase or for the exemplars of a class.

        Raises:
            ConfigError: the phrase contains no words, or more tokens than the text encoder reads.
        """
        return self.num_tokens(phrase.prompt)

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order.

        Images share a forward pass where the architecture allows it. Phrases are split into as many passes as the text
        limit requires. If the device runs out of memory, the batch is halved.

        Raises:
            ConfigError: a phrase exceeds the text limit or contains no words, an exemplar cannot be read, or a class
                has exemplars, which this detector does not accept.
            ModelError: there is too little memory for a single image.
        """
        chunks = self.chunks_of(phrases_of(classes))
        return self.in_batches(images, partial(self._detect_together, chunks=chunks, confidence_floor=confidence_floor))

    def chunks_of(self, phrases: Sequence[Phrase]) -> list[list[Phrase]]:
        """Return the phrases, in order, in as few chunks as the text limit allows.

        Raises:
            ConfigError: a single phrase exceeds the limit or contains no words.
        """
        chunks: list[list[Phrase]] = []
        room = 0
        for phrase in phrases:
            tokens = self.length_of(phrase)
            if tokens > self.max_tokens:
                raise ConfigError(
                    f"detection.classes: the phrase {phrase.prompt!r} has {counted(tokens, 'token')}, but detector "
                    f"{self.name} reads at most {self.max_tokens}; shorten the phrase"
                )
            if tokens > room:
                chunks.append([])
                room = self.max_tokens
            chunks[-1].append(phrase)
            room -= tokens
        return chunks

    def _detect_together(
        self, images: Sequence[RgbImage], *, chunks: Sequence[Sequence[Phrase]], confidence_floor: float
    ) -> list[ImageDetections]:
        found = [self.candidates_of_phrases(images, chunk, confidence_floor=confidence_floor) for chunk in chunks]
        return [
            self._choose(image, [(chunk, of_images[row]) for chunk, of_images in zip(chunks, found, strict=True)])
            for row, image in enumerate(images)
        ]

    def _choose(self, image: RgbImage, found: Sequence[tuple[Sequence[Phrase], Candidates]]) -> ImageDetections:
        """Return the detections in one image, chosen from the candidates of all chunks of phrases."""
        chosen = [phrases[column] for phrases, part in found for column in part.columns.tolist()]
        if not chosen:
            return ImageDetections.empty()
        candidates = Candidates.joined([part for _, part in found])
        return detections_from_candidates(
            candidates.boxes_xyxy,
            candidates.confidences,
            np.array([phrase.class_index for phrase in chosen], np.int32),
            [phrase.prompt for phrase in chosen],
            image_wh=(image.shape[1], image.shape[0]),
            nms_iou=self.nms_iou,
            masks=(lambda row: candidates.masks[row]()) if candidates.masks else None,
        )


class BestPhraseDetector(PhraseDetector):
    """A detector that scores each candidate box against all phrases and assigns it to the best one."""

    @abstractmethod
    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass, and return one result per image. The prompts must fit within `max_tokens`."""

    def candidates_of(
        self, images: Sequence[RgbImage], prompts: Sequence[str], *, confidence_floor: float
    ) -> list[Candidates]:
        """Return, for each image, the candidates at or above `confidence_floor`, each with its best phrase."""
        return best_phrases(self.score(images, prompts), confidence_floor)


def best_phrases(scored_images: Sequence[ScoredBoxes], confidence_floor: float) -> list[Candidates]:
    """Return, for each image, the candidates at or above `confidence_floor`, each with its best phrase."""
    found = []
    for scored in scored_images:
        best = scored.phrase_scores.argmax(axis=1)
        confidence = scored.phrase_scores[np.arange(len(best)), best]
        rows = np.flatnonzero(confidence >= confidence_floor)
        found.append(Candidates(scored.boxes_xyxy[rows], confidence[rows], best[rows]))
    return found


def load_phrase_detector(kind: type[Kind], network_class: Any, entry: ModelEntry, device: str) -> Kind:
    """Load a phrase detector and its tokenizer from the hub's cache, the hub or a folder.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the checkpoint cannot be loaded or does not match its entry.
    """
    from transformers import AutoTokenizer

    check_network(entry)
    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision, trust_remote_code=False)
    return load_pretrained(kind, network_class, entry, device, tokenizer=tokenizer)
