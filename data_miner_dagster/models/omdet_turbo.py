"""OmDet-Turbo through transformers.

Besides the phrases the model reads a task, "Detect a, b, c.", of at most 77 tokens: phrases go in as many passes as
their list needs.

Source: Zhao et al. 2024, "Real-time Transformer-based Open-Vocabulary Detection with Efficient Fusion Head".
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.hub import hub_errors, pretrained_location
from data_miner_dagster.models.phrase_detector import PhraseDetector, ScoredBoxes, boxes_from_centres
from data_miner_dagster.models.registry import ModelEntry


class OmDetTurboDetector(PhraseDetector):
    """Implements ObjectDetector."""

    nms_iou: ClassVar[float] = 0.5
    batches_any_size: ClassVar[bool] = True

    def __init__(
        self, model: Any, image_processor: Any, tokenizer: Any, *, name: str, fingerprint: str, device: str
    ) -> None:
        super().__init__(name=name, fingerprint=fingerprint, device=device)
        self._model = model.eval().to(device)
        self._image_processor = image_processor
        self._tokenizer = tokenizer
        self._max_length = int(model.config.text_config.max_position_embeddings)

    @property
    def max_tokens(self) -> int:
        """The room for phrases in the task's text."""
        return self._max_length - len(self._tokenizer("Detect .")["input_ids"])

    def num_tokens(self, prompt: str) -> int:
        """Return the tokens of a phrase and of the comma behind it."""
        return len(self._tokenizer(f"{prompt.lower()},", add_special_tokens=False)["input_ids"])

    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images of any sizes: all are resized to the model's square."""
        import torch

        plain = [prompt.lower() for prompt in prompts]
        classes, task = self._tokens(plain), self._tokens([f"Detect {', '.join(plain)}."])
        pixels = self._image_processor(images=list(images), input_data_format="channels_last", return_tensors="pt")
        with self.inference():
            outputs = self._model(
                pixel_values=pixels["pixel_values"].to(self.device),
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
        return self._tokenizer(
            list(texts), padding="max_length", max_length=self._max_length, truncation=True, return_tensors="pt"
        )


def load(entry: ModelEntry, device: str) -> OmDetTurboDetector:
    """Load an entry of architecture `omdet-turbo` from the hub's cache, the hub or a folder.

    Raises:
        ModelError: it cannot be had or is not what its entry says.
    """
    from transformers import AutoImageProcessor, AutoTokenizer, OmDetTurboForObjectDetection

    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        model = OmDetTurboForObjectDetection.from_pretrained(location, revision=revision, use_safetensors=True)
        image_processor = AutoImageProcessor.from_pretrained(location, revision=revision)
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision)
    return OmDetTurboDetector(
        model,
        image_processor,
        tokenizer,
        name=entry.name,
        fingerprint=entry.fingerprint,
        device=resolve_device(device),
    )
