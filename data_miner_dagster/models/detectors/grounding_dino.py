"""GroundingDINO through transformers. Each phrase is scored by its own tokens alone.

The usual post-processing reads a label back from whichever tokens are hot, and so returns "car taxi" where two
phrases share a box. Here the token span of every phrase is known, because the text is put together token by token;
a phrase's score is the mean over its span, and a box goes to the phrase with the highest.

Source: Liu et al. 2023, "Grounding DINO"; the mean over a phrase's tokens is that of GLIP (Li et al. 2022) and of
MMDetection's `convert_grounding_to_cls_scores`.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.detectors.hub_detector import boxes_from_centres
from data_miner_dagster.models.detectors.phrase_detector import (
    PhraseDetector,
    ScoredBoxes,
    load_phrase_detector,
)
from data_miner_dagster.models.registry import ModelEntry

_SEPARATORS: Final = str.maketrans(".?", "  ")
"""Both end a phrase for the model, wherever they stand."""


class GroundingDinoDetector(PhraseDetector):
    """Implements ObjectDetector."""

    nms_iou: ClassVar[float | None] = 0.7
    batches_any_size: ClassVar[bool] = False

    @property
    def max_tokens(self) -> int:
        """The model's text limit, 256, less the two tokens that open and close the text."""
        return int(self.network.config.max_text_len) - 2

    def num_tokens(self, prompt: str) -> int:
        """Return the tokens of a phrase and of the separator behind it."""
        return len(self._token_ids(prompt)) + 1

    def _token_ids(self, prompt: str) -> list[int]:
        plain = " ".join(prompt.lower().translate(_SEPARATORS).split())
        ids: list[int] = self.tokenizer(plain, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ConfigError(f"detection.classes: detector {self.name} reads nothing in the phrase {prompt!r}")
        return ids

    def text_of(self, prompts: Sequence[str]) -> tuple[list[int], list[slice]]:
        """Return the token ids of "phrase . phrase ." with opening and closing, and the span of each phrase in them."""
        separator = int(self.tokenizer.convert_tokens_to_ids("."))
        ids = [int(self.tokenizer.cls_token_id)]
        spans = []
        for prompt in prompts:
            tokens = self._token_ids(prompt)
            spans.append(slice(len(ids), len(ids) + len(tokens)))
            ids += [*tokens, separator]
        return [*ids, int(self.tokenizer.sep_token_id)], spans

    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images of one size."""
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
        ModelError: it cannot be had or is not what its entry says.
    """
    from transformers import GroundingDinoForObjectDetection

    return load_phrase_detector(GroundingDinoDetector, GroundingDinoForObjectDetection, entry, device)
