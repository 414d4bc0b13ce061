"""The shared part of transformers' open-vocabulary detectors: phrases, chunks, and one phrase per box.

Belongs here: everything but the network. Does not belong here: how one architecture scores phrases (its own module).
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import ClassPrompts, Float32Array, ImageDetections, RgbImage
from data_miner_dagster.models.boxes import detections_from_candidates
from data_miner_dagster.models.detectors.hub_detector import HubDetector, load_pretrained
from data_miner_dagster.models.hub import hub_errors, pretrained_location
from data_miner_dagster.models.registry import ModelEntry

Kind = TypeVar("Kind", bound="PhraseDetector")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase of one class."""

    class_index: int
    prompt: str


@dataclass(frozen=True, slots=True)
class ScoredBoxes:
    """The candidates of one image: boxes (Q, 4) in absolute pixels and scores (Q, P) per box and phrase."""

    boxes_xyxy: Float32Array
    phrase_scores: Float32Array


class PhraseDetector(HubDetector):
    """Implements ObjectDetector. Assigns every candidate box to its best phrase, so labels are never merged."""

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
        """Return the number of tokens that a phrase takes, including its separator."""

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """The maximum number of tokens of all phrases in one forward pass."""

    @abstractmethod
    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images and phrases that fit; return one result per image."""

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order.

        Images share a forward pass where the architecture allows it. Phrases are split into as many passes as the text
        limit requires. If the device runs out of memory, the batch is halved.

        Raises:
            ConfigError: a single phrase exceeds the text limit.
            ModelError: there is too little memory for a single image.
        """
        phrases = [Phrase(index, prompt) for index, wanted in enumerate(classes) for prompt in wanted.prompts]
        chunks = self.chunks_of(phrases)
        return self.in_batches(images, partial(self._detect_together, chunks=chunks, confidence_floor=confidence_floor))

    def chunks_of(self, phrases: Sequence[Phrase]) -> list[list[Phrase]]:
        """Return the phrases, in order, in as few chunks as the text limit allows.

        Raises:
            ConfigError: a single phrase exceeds the limit.
        """
        chunks: list[list[Phrase]] = []
        room = 0
        for phrase in phrases:
            tokens = self.num_tokens(phrase.prompt)
            if tokens > self.max_tokens:
                raise ConfigError(
                    f"detection.classes: the phrase {phrase.prompt!r} has {tokens} tokens, detector {self.name} reads "
                    f"{self.max_tokens}; shorten it"
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
        scored = [self.score(images, [phrase.prompt for phrase in chunk]) for chunk in chunks]
        return [
            self._choose(
                image,
                [(chunk, per_image[row]) for chunk, per_image in zip(chunks, scored, strict=True)],
                confidence_floor,
            )
            for row, image in enumerate(images)
        ]

    def _choose(
        self, image: RgbImage, scored: Sequence[tuple[Sequence[Phrase], ScoredBoxes]], confidence_floor: float
    ) -> ImageDetections:
        """Return the detections among the candidates of all chunks of one image."""
        boxes, confidences, class_indices, prompts = [], [], [], []
        for phrases, candidates in scored:
            best = candidates.phrase_scores.argmax(axis=1)
            confidence = candidates.phrase_scores[np.arange(len(best)), best]
            rows = np.flatnonzero(confidence >= confidence_floor)
            boxes.append(candidates.boxes_xyxy[rows])
            confidences.append(confidence[rows])
            class_indices += [phrases[column].class_index for column in best[rows].tolist()]
            prompts += [phrases[column].prompt for column in best[rows].tolist()]
        if not prompts:
            return ImageDetections.empty()
        return detections_from_candidates(
            np.concatenate(boxes),
            np.concatenate(confidences),
            np.array(class_indices, np.int32),
            prompts,
            image_wh=(image.shape[1], image.shape[0]),
            nms_iou=self.nms_iou,
        )


def load_phrase_detector(kind: type[Kind], network_class: Any, entry: ModelEntry, device: str) -> Kind:
    """Load a phrase detector and its tokenizer from the hub's cache, the hub or a folder.

    Raises:
        ModelError: it cannot be loaded or does not match its entry.
    """
    from transformers import AutoTokenizer

    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision, trust_remote_code=False)
    return load_pretrained(kind, network_class, entry, device, tokenizer=tokenizer)
