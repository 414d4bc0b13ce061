"""What the open-vocabulary detectors of transformers share: loading, phrases, chunks, batches, one phrase a box.

Belongs here: everything but the network. Does not belong here: how one architecture scores phrases (its own module).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import ClassPrompts, Float32Array, ImageDetections, RgbImage
from data_miner_dagster.models.batching import run_in_halves
from data_miner_dagster.models.boxes import detections_from_candidates
from data_miner_dagster.models.devices import resolve_device
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
    """The candidates of one image: boxes (Q, 4) in absolute pixels, and the score (Q, P) of each for each phrase."""

    boxes_xyxy: Float32Array
    phrase_scores: Float32Array


class PhraseDetector(ABC):
    """Implements ObjectDetector. Every candidate box goes to its one best phrase: labels are never merged."""

    nms_iou: ClassVar[float]
    batches_any_size: ClassVar[bool]
    """False where images of one forward pass are padded to the largest: then only those of one size share a pass, so
    that an image's boxes never depend on its neighbours. The frames of a video are of one size."""

    def __init__(
        self, network: Any, image_processor: Any, tokenizer: Any, *, name: str, fingerprint: str, device: str
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.device = device
        self.network = network.eval().to(device)
        self.tokenizer = tokenizer
        self.image_processor = image_processor

    @property
    def context_length(self) -> int:
        """Tokens of one text of the network, if its text half is CLIP's."""
        return int(self.network.config.text_config.max_position_embeddings)

    @abstractmethod
    def num_tokens(self, prompt: str) -> int:
        """Return how many tokens of the text limit a phrase takes, separator included."""

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """How many tokens the phrases of one forward pass may take together."""

    @abstractmethod
    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images and phrases that fit; one result an image."""

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order.

        Images go through together where the architecture allows; phrases are split into as many passes as the text
        limit asks for. Where the device's memory does not suffice, the batch is halved.

        Raises:
            ConfigError: a phrase alone is over the text limit.
            ModelError: memory does not suffice for one image.
        """
        phrases = [Phrase(index, prompt) for index, wanted in enumerate(classes) for prompt in wanted.prompts]
        chunks = self.chunks_of(phrases)
        found: list[ImageDetections] = [ImageDetections.empty()] * len(images)
        for rows in self._groups_of(images):

            def run(part: Sequence[int]) -> list[ImageDetections]:
                return self._detect_together([images[row] for row in part], chunks, confidence_floor)

            for row, detections in zip(rows, run_in_halves(run, rows, model=self.name), strict=True):
                found[row] = detections
        return found

    def chunks_of(self, phrases: Sequence[Phrase]) -> list[list[Phrase]]:
        """Return the phrases in as few runs as fit the text limit, in order.

        Raises:
            ConfigError: a phrase alone is over it.
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

    def _groups_of(self, images: Sequence[RgbImage]) -> list[list[int]]:
        """Return rows of images that may share a forward pass."""
        if self.batches_any_size:
            return [list(range(len(images)))] if images else []
        rows_by_shape: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(images):
            rows_by_shape.setdefault(image.shape, []).append(row)
        return list(rows_by_shape.values())

    def _detect_together(
        self, images: Sequence[RgbImage], chunks: Sequence[Sequence[Phrase]], confidence_floor: float
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

    def pixels_of(self, images: Sequence[RgbImage]) -> Any:
        """Return what the architecture's own processor makes of images, on the device."""
        pixels = self.image_processor(images=list(images), input_data_format="channels_last", return_tensors="pt")
        return pixels.to(self.device)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """The context of a forward pass: no gradients; half precision on CUDA.

        float16, not bfloat16: with the latter's 8 bits a box edge at pixel 1,000 would be rounded to steps of 4.
        """
        import torch

        on_cuda = self.device.startswith("cuda")
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16, enabled=on_cuda):
            yield


def load_pretrained(kind: type[Kind], network_class: Any, entry: ModelEntry, device: str) -> Kind:
    """Load an entry of a phrase detector from the hub's cache, the hub or a folder.

    Raises:
        ModelError: it cannot be had or is not what its entry says.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        network = network_class.from_pretrained(location, revision=revision, use_safetensors=True)
        image_processor = AutoImageProcessor.from_pretrained(location, revision=revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision, trust_remote_code=False)
    return kind(
        network,
        image_processor,
        tokenizer,
        name=entry.name,
        fingerprint=entry.fingerprint,
        device=resolve_device(device),
    )


def boxes_from_centres(boxes_cxcywh: Float32Array, scale_wh: tuple[float, float]) -> Float32Array:
    """Return (N, 4) corners in pixels of (N, 4) centres and sizes relative to `scale_wh`."""
    centres, halves = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    corners: Float32Array = np.concatenate([centres - halves, centres + halves], axis=1)
    return corners * np.array([*scale_wh, *scale_wh], np.float32)
