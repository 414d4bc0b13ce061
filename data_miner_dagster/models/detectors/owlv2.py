"""OWLv2 through transformers.

The image is padded to a square on the right and at the bottom before it is resized, so boxes are relative to the longer
side and not to width and height.

Source: Minderer et al. 2023, "Scaling Open-Vocabulary Object Detection".
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.detectors.hub_detector import boxes_from_centres
from data_miner_dagster.models.detectors.phrase_detector import (
    BestPhraseDetector,
    ScoredBoxes,
    load_phrase_detector,
)
from data_miner_dagster.models.detectors.separate_phrases import SeparatePhraseDetector
from data_miner_dagster.models.registry import ModelEntry

if TYPE_CHECKING:
    import torch


class Owlv2Detector(SeparatePhraseDetector, BestPhraseDetector):
    """Implements ObjectDetector."""

    nms_iou: ClassVar[float | None] = 0.5  # every patch of an object returns a box
    batches_any_size = True

    def embed(self, prompt: str) -> "torch.Tensor":
        """Return the unit vector (1, D) of a phrase."""
        features = self.network.owlv2.get_text_features(**self.tokens_of(prompt)).pooler_output
        unit: torch.Tensor = features / features.norm(dim=-1, keepdim=True)
        return unit

    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images of any sizes."""
        import torch

        vectors = torch.cat(self.embedded(prompts))
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


def load(entry: ModelEntry, device: str) -> Owlv2Detector:
    """Load an entry of architecture `owlv2`.

    Raises:
        ModelError: it cannot be loaded or does not match its entry.
    """
    from transformers import Owlv2ForObjectDetection

    return load_phrase_detector(Owlv2Detector, Owlv2ForObjectDetection, entry, device)
