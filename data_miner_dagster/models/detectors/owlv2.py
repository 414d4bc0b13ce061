"""OWLv2 through transformers.

The image is padded to a square on the right and at the bottom before it is resized, so boxes are relative to the longer
side and not to width and height.

Source: Minderer et al. 2023, "Scaling Open-Vocabulary Object Detection".
"""

from collections.abc import Sequence
from typing import ClassVar

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.detectors.hub_detector import boxes_from_centres
from data_miner_dagster.models.detectors.phrase_detector import (
    PhraseDetector,
    ScoredBoxes,
    load_phrase_detector,
)
from data_miner_dagster.models.registry import ModelEntry

MAX_PHRASES = 64
"""Maximum number of phrases per forward pass. Each phrase is a separate text, encoded once per image."""


class Owlv2Detector(PhraseDetector):
    """Implements ObjectDetector."""

    nms_iou: ClassVar[float | None] = 0.5  # every patch of an object returns a box
    batches_any_size: ClassVar[bool] = True

    @property
    def max_tokens(self) -> int:
        """The number of tokens of `MAX_PHRASES` phrases of full length."""
        return MAX_PHRASES * self.context_length

    def num_tokens(self, prompt: str) -> int:
        """Return the length that a phrase is padded to, or more than `max_tokens` if the phrase is too long."""
        length = len(self.tokenizer(prompt.lower())["input_ids"])
        return self.context_length if length <= self.context_length else self.max_tokens + length

    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images of any sizes."""
        text = self.tokenizer(
            [prompt.lower() for prompt in prompts],
            padding="max_length",
            max_length=self.context_length,
            return_tensors="pt",
        )
        pixels = self.pixels_of(images)
        with self.inference():
            outputs = self.network(
                input_ids=text["input_ids"].repeat(len(images), 1).to(self.device),
                attention_mask=text["attention_mask"].repeat(len(images), 1).to(self.device),
                pixel_values=pixels["pixel_values"],
            )
            scores = outputs.logits.float().sigmoid().cpu().numpy()
            boxes = outputs.pred_boxes.float().cpu().numpy()
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
