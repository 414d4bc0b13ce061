"""OWLv2 through transformers.

The image is padded to a square on the right and at the bottom before it is resized, so boxes are relative to the longer
side rather than to width and height.

A class can be described by exemplars. In each picture, or in each of its boxes, the network selects the patch that most
likely contains an object. The mean of these patches' vectors is used like the vector of a phrase.

Source: Minderer et al. 2023, "Scaling Open-Vocabulary Object Detection"; for the average, Minderer et al. 2022, "Simple
Open-Vocabulary Object Detection with Vision Transformers", section 4.4.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from data_miner_dagster.domain.records import ExemplarImage, RgbImage
from data_miner_dagster.models.detectors.hub_detector import boxes_from_centres
from data_miner_dagster.models.detectors.phrase_detector import (
    BestPhraseDetector,
    Candidates,
    Phrase,
    ScoredBoxes,
    best_phrases,
    load_phrase_detector,
)
from data_miner_dagster.models.detectors.separate_phrases import MAX_EMBEDDED, SeparatePhraseDetector
from data_miner_dagster.models.registry import ModelEntry

if TYPE_CHECKING:
    import torch


class Owlv2Detector(SeparatePhraseDetector, BestPhraseDetector):
    """Implements ObjectDetector with OWLv2."""

    nms_iou: ClassVar[float | None] = 0.5  # each patch of an object yields a box
    batches_any_size = True

    def __init__(self, network: Any, image_processor: Any, **parts: Any) -> None:
        super().__init__(network, image_processor, **parts)
        self._seen: dict[ExemplarImage, torch.Tensor] = {}

    def length_of(self, phrase: Phrase) -> int:
        """Return the number of tokens to reserve for a phrase. All exemplars of a class count as one phrase."""
        return self.context_length if phrase.exemplars else super().length_of(phrase)

    def candidates_of_phrases(
        self, images: Sequence[RgbImage], phrases: Sequence[Phrase], *, confidence_floor: float
    ) -> list[Candidates]:
        """Return, for each image, the candidates at or above `confidence_floor`, each with its best phrase.

        Raises:
            ConfigError: an exemplar cannot be read.
        """
        if not any(phrase.exemplars for phrase in phrases):
            return super().candidates_of_phrases(images, phrases, confidence_floor=confidence_floor)
        import torch

        vectors = [
            self._mean_of(phrase.exemplars) if phrase.exemplars else self.embedded([phrase.prompt])[0]
            for phrase in phrases
        ]
        return best_phrases(self.score_vectors(images, torch.cat(vectors)), confidence_floor)

    def _mean_of(self, exemplars: Sequence[ExemplarImage]) -> "torch.Tensor":
        """Return the normalized mean (1, D) of the vectors of a class's exemplars."""
        import torch

        if len(self._seen) + len(exemplars) > MAX_EMBEDDED:
            self._seen.clear()
        for exemplar in exemplars:
            if exemplar not in self._seen:
                self._seen[exemplar] = torch.cat([self.embed_image(crop) for crop in _crops(exemplar)])
        return _unit(torch.cat([self._seen[exemplar] for exemplar in exemplars]).mean(dim=0, keepdim=True))

    def embed_image(self, image: RgbImage) -> "torch.Tensor":
        """Return the unit vector (1, D) of the object that a picture shows."""
        pixels = self.pixels_of([image])
        with self.inference():
            features, _ = self.network.image_embedder(pixel_values=pixels["pixel_values"])
            vectors, _, _ = self.network.embed_image_query(features.flatten(1, 2), features)
        return _unit(vectors[0].float())

    def embed(self, prompt: str) -> "torch.Tensor":
        """Return the unit vector (1, D) of a phrase."""
        features = self.network.owlv2.get_text_features(**self.tokens_of(prompt)).pooler_output
        return _unit(features)

    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images of any size, and return one result per image."""
        import torch

        return self.score_vectors(images, torch.cat(self.embedded(prompts)))

    def score_vectors(self, images: Sequence[RgbImage], vectors: "torch.Tensor") -> list[ScoredBoxes]:
        """Run one forward pass on images of any size, and return one result per image.

        `vectors` are the (P, D) unit vectors of phrases or exemplars.
        """
        pixels = self.pixels_of(images)
        with self.inference():
            features, _ = self.network.image_embedder(pixel_values=pixels["pixel_values"])
            patches = features.flatten(1, 2)
            logits, _ = self.network.class_predictor(patches, vectors.expand(len(images), -1, -1))
            scores = logits.float().sigmoid().cpu().numpy()
            boxes = self.network.box_predictor(patches, features).float().cpu().numpy()
        found = []
        for row, image in enumerate(images):
            side = max(image.shape[:2])
            found.append(ScoredBoxes(boxes_from_centres(boxes[row], (side, side)), scores[row]))
        return found


def _unit(vectors: "torch.Tensor") -> "torch.Tensor":
    unit: torch.Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
    return unit


def _crops(exemplar: ExemplarImage) -> Iterator[RgbImage]:
    """Yield the region inside each box of an exemplar, or the whole picture if the exemplar has no boxes."""
    image = exemplar.read()
    if not exemplar.boxes_xyxy:
        yield image
    for left, top, right, bottom in exemplar.boxes_xyxy:
        yield image[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)]


def why_no_exemplars(_entry: ModelEntry) -> str | None:
    """Return None, since every checkpoint accepts exemplars."""
    return None


def load(entry: ModelEntry, device: str) -> Owlv2Detector:
    """Load an entry of architecture `owlv2`.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the checkpoint cannot be loaded or does not match its entry.
    """
    from transformers import Owlv2ForObjectDetection

    return load_phrase_detector(Owlv2Detector, Owlv2ForObjectDetection, entry, device)
