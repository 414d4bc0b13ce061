"""OWLv2 through transformers.

The image is padded to a square at the right and the bottom before it is resized, so boxes are relative to the longer
side, not to width and height.

Source: Minderer et al. 2023, "Scaling Open-Vocabulary Object Detection".
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.hub import hub_errors, pretrained_location
from data_miner_dagster.models.phrase_detector import PhraseDetector, ScoredBoxes, boxes_from_centres
from data_miner_dagster.models.registry import ModelEntry

MAX_PHRASES = 64
"""Phrases of one forward pass: each is a text of its own, encoded once an image."""


class Owlv2Detector(PhraseDetector):
    """Implements ObjectDetector."""

    nms_iou: ClassVar[float] = 0.5  # every patch of an object answers with a box
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
        """Room for `MAX_PHRASES` phrases of full length."""
        return MAX_PHRASES * self._max_length

    def num_tokens(self, prompt: str) -> int:
        """Return the full length that a phrase is padded to, or more than any room where it is longer."""
        length = len(self._tokenizer(prompt.lower())["input_ids"])
        return self._max_length if length <= self._max_length else self.max_tokens + length

    def score(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> list[ScoredBoxes]:
        """Run one forward pass on images of any sizes."""
        text = self._tokenizer(
            [prompt.lower() for prompt in prompts],
            padding="max_length",
            max_length=self._max_length,
            return_tensors="pt",
        )
        pixels = self._image_processor(images=list(images), input_data_format="channels_last", return_tensors="pt")
        with self.inference():
            outputs = self._model(
                input_ids=text["input_ids"].repeat(len(images), 1).to(self.device),
                attention_mask=text["attention_mask"].repeat(len(images), 1).to(self.device),
                pixel_values=pixels["pixel_values"].to(self.device),
            )
            scores = outputs.logits.float().sigmoid().cpu().numpy()
            boxes = outputs.pred_boxes.float().cpu().numpy()
        found = []
        for row, image in enumerate(images):
            side = max(image.shape[:2])
            found.append(ScoredBoxes(boxes_from_centres(boxes[row], (side, side)), scores[row]))
        return found


def load(entry: ModelEntry, device: str) -> Owlv2Detector:
    """Load an entry of architecture `owlv2` from the hub's cache, the hub or a folder.

    Raises:
        ModelError: it cannot be had or is not what its entry says.
    """
    from transformers import AutoImageProcessor, AutoTokenizer, Owlv2ForObjectDetection

    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        model = Owlv2ForObjectDetection.from_pretrained(location, revision=revision, use_safetensors=True)
        image_processor = AutoImageProcessor.from_pretrained(location, revision=revision)
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision)
    return Owlv2Detector(
        model,
        image_processor,
        tokenizer,
        name=entry.name,
        fingerprint=entry.fingerprint,
        device=resolve_device(device),
    )
