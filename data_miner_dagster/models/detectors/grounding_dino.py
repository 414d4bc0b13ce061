"""GroundingDINO, MM-Grounding-DINO and LLMDet through transformers. Each phrase is scored by its own tokens only.

The usual post-processing builds a label from all tokens with a high score, so it returns "car taxi" if two phrases
match the same box. Here the text is assembled token by token, so the token span of every phrase is known. A phrase's
score is the mean over its span, and a box is assigned to the phrase with the highest score.

LLMDet is MM-Grounding-DINO, trained further together with a language model that inference does not need.

Source: Liu et al. 2023, "Grounding DINO"; Zhao et al. 2024, "An Open and Comprehensive Pipeline for Unified Object
Grounding and Detection"; Fu et al. 2025, "LLMDet"; the mean over a phrase's tokens follows GLIP (Li et al. 2022) and
MMDetection's `convert_grounding_to_cls_scores`.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.detectors.hub_detector import boxes_from_centres
from data_miner_dagster.models.detectors.phrase_detector import (
    BestPhraseDetector,
    ScoredBoxes,
    load_phrase_detector,
)
from data_miner_dagster.models.registry import ModelEntry

_SEPARATORS: Final = str.maketrans(".?", "  ")
"""Replaces the two characters that the model reads as the end of a phrase with spaces."""


class GroundingDinoDetector(BestPhraseDetector):
    """Implements ObjectDetector with GroundingDINO or a network derived from it."""

    nms_iou: ClassVar[float | None] = 0.7
    batches_any_size = False

    @property
    def max_tokens(self) -> int:
        """The number of tokens available for phrases: the network's limit, minus the text's start and end tokens."""
        return int(self.network.config.max_text_len) - 2

    def num_tokens(self, prompt: str) -> int:
        """Return the number of tokens in a phrase and its separator.

        Raises:
            ConfigError: the phrase contains no words.
        """
        return len(self._token_ids(prompt)) + 1

    def _token_ids(self, prompt: str) -> list[int]:
        plain = " ".join(prompt.lower().translate(_SEPARATORS).split())
        ids: list[int] = self.tokenizer(plain, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ConfigError(
                f"detection.classes: detector {self.name} finds no words in the phrase {prompt!r}; use another phrase"
            )
        return ids

    def text_of(self, prompts: Sequence[str]) -> tuple[list[int], list[slice]]:
        """Return the token ids of "phrase . phrase .", with start and end tokens, and the span of each phrase.

        Raises:
            ConfigError: a phrase contains no words.
        """
        separator = int(self.tokenizer.convert_tokens_to_ids("."))
        ids = [int(self.tokenizer.cls_token_id)]
        spans = []
        for prompt in prompts:
            tokens = self._token_ids(prompt)
            spans.append(slice(len(ids), len(ids) + len(tokens)))
            ids += [*tokens, separator]
        return [*ids, int(self.tokenizer.sep_token_id)], spans

    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images of equal size, and return one result per image.

        Raises:
            ConfigError: a phrase contains no words.
        """
        import torch

        ids, spans = self.text_of(prompts)
        input_ids = torch.tensor([ids] * len(images), device=self.device)
        pixels = self.pixels_of(images)
        with self.inference():
            outputs = self.network(
                pixel_values=pixels["pixel_values"],
                pixel_mask=pixels["pixel_mask"],
                input_ids=input_ids,
                token_type_ids=torch.zeros_like(input_ids),
                attention_mask=torch.ones_like(input_ids),
            )
            token_scores = outputs.logits.float().sigmoid()
            phrase_scores = torch.stack([token_scores[..., span].mean(dim=-1) for span in spans], dim=-1)
            scores = phrase_scores.cpu().numpy()
            boxes = outputs.pred_boxes.float().cpu().numpy()
        height, width = images[0].shape[:2]
        return [
            ScoredBoxes(boxes_from_centres(boxes[row], (width, height)), scores[row].astype(np.float32))
            for row in range(len(images))
        ]


def load(entry: ModelEntry, device: str) -> GroundingDinoDetector:
    """Load an entry of architecture `grounding-dino`.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the model cannot be loaded or does not match its entry.
    """
    from transformers import GroundingDinoForObjectDetection

    return load_phrase_detector(GroundingDinoDetector, GroundingDinoForObjectDetection, entry, device)


def load_mm(entry: ModelEntry, device: str) -> GroundingDinoDetector:
    """Load an entry of architecture `mm-grounding-dino`: MM-Grounding-DINO or LLMDet.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the model cannot be loaded or does not match its entry.
    """
    from transformers import MMGroundingDinoForObjectDetection

    return load_phrase_detector(GroundingDinoDetector, MMGroundingDinoForObjectDetection, entry, device)
