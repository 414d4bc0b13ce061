"""OmDet-Turbo through transformers.

Besides the phrases, the model reads a task, "Detect a, b, c.", of at most 77 tokens. A long list of phrases therefore
requires several passes.

Source: Zhao et al. 2024, "Real-time Transformer-based Open-Vocabulary Detection with Efficient Fusion Head".
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.detectors.hub_detector import boxes_from_centres
from data_miner_dagster.models.detectors.phrase_detector import (
    BestPhraseDetector,
    ScoredBoxes,
    load_phrase_detector,
)
from data_miner_dagster.models.registry import ModelEntry


class OmDetTurboDetector(BestPhraseDetector):
    """Implements ObjectDetector with OmDet-Turbo."""

    nms_iou: ClassVar[float | None] = 0.5
    batches_any_size = True

    @property
    def max_tokens(self) -> int:
        """The number of tokens available for phrases in the task's text."""
        return self.context_length - len(self.tokenizer("Detect .")["input_ids"])

    def num_tokens(self, prompt: str) -> int:
        """Return the number of tokens in a phrase and the comma after it."""
        return len(self.tokenizer(f"{prompt.lower()},", add_special_tokens=False)["input_ids"])

    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images of any size, resized to the model's square. Return one result per image."""
        import torch

        plain = [prompt.lower() for prompt in prompts]
        classes, task = self._tokens(plain), self._tokens([f"Detect {', '.join(plain)}."])
        pixels = self.pixels_of(images)
        with self.inference():
            outputs = self.network(
                pixel_values=pixels["pixel_values"],
                classes_input_ids=classes["input_ids"].repeat(len(images), 1).to(self.device),
                classes_attention_mask=classes["attention_mask"].repeat(len(images), 1).to(self.device),
                tasks_input_ids=task["input_ids"].repeat(len(images), 1).to(self.device),
                tasks_attention_mask=task["attention_mask"].repeat(len(images), 1).to(self.device),
                classes_structure=torch.tensor([len(prompts)] * len(images), device=self.device),
            )
            scores = outputs.decoder_class_logits.float().sigmoid()[..., : len(prompts)].cpu().numpy()
            boxes = outputs.decoder_coord_logits.float().cpu().numpy()
        return [
            ScoredBoxes(
                boxes_from_centres(boxes[row], (image.shape[1], image.shape[0])), scores[row].astype(np.float32)
            )
            for row, image in enumerate(images)
        ]

    def _tokens(self, texts: Sequence[str]) -> Any:
        return self.tokenizer(
            list(texts), padding="max_length", max_length=self.context_length, truncation=True, return_tensors="pt"
        )


def load(entry: ModelEntry, device: str) -> OmDetTurboDetector:
    """Load an entry of architecture `omdet-turbo`.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the checkpoint cannot be loaded or does not match its entry.
    """
    from transformers import OmDetTurboForObjectDetection

    return load_phrase_detector(OmDetTurboDetector, OmDetTurboForObjectDetection, entry, device)
