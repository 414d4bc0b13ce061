"""SAM 3 through transformers: every instance of a phrase, with its box and its mask.

The backbone processes the image once, and the decoder processes each phrase separately. A candidate's confidence is the
probability that it shows the phrase, times the probability that the image shows the phrase at all ("presence").
Images are resized to the network's square without keeping the aspect ratio, so boxes are relative to width and height.

Source: Carion et al. 2025, "SAM 3: Segment Anything with Concepts".
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.records import ImageDetections, RgbImage
from data_miner_dagster.models.boxes import detections_from_candidates
from data_miner_dagster.models.detectors.hub_detector import mask_of
from data_miner_dagster.models.detectors.phrase_detector import Candidates, load_phrase_detector
from data_miner_dagster.models.detectors.separate_phrases import SeparatePhraseDetector
from data_miner_dagster.models.registry import ModelEntry

if TYPE_CHECKING:
    import torch


MASK_THRESHOLD: Final = 0.5
"""The probability above which a pixel belongs to a mask: transformers' default."""

TEXT_OF_BOXES: Final = "visual"
"""The text that the network reads instead of a phrase if it receives boxes. Source: transformers' Sam3Processor."""


class Sam3Detector(SeparatePhraseDetector):
    """Implements ObjectDetector and BoxPrompted with SAM 3."""

    nms_iou: ClassVar[float | None] = 0.7  # two phrases of a class may yield boxes of the same object
    batches_any_size = True

    def embed(self, prompt: str) -> "torch.Tensor":
        """Return the features (1, T, D) of a phrase's tokens."""
        features: torch.Tensor = self.network.get_text_features(**self.tokens_of(prompt)).pooler_output
        return features

    def candidates_of(
        self, images: Sequence[RgbImage], prompts: Sequence[str], *, confidence_floor: float
    ) -> list[Candidates]:
        """Return, for each image, the candidates at or above `confidence_floor`, in the order of the phrases."""
        found: list[list[Candidates]] = [[] for _ in images]
        pixels = self.pixels_of(images)
        with self.inference():
            seen = self.network.get_vision_features(pixel_values=pixels["pixel_values"])
            for column, (prompt, features) in enumerate(zip(prompts, self.embedded(prompts), strict=True)):
                outputs = self._decode(seen, prompt, features, len(images))
                for row, image in enumerate(images):
                    found[row].append(_candidates_on(outputs, row, image, column, confidence_floor))
        return [Candidates.joined(parts) for parts in found]

    def detect_like(
        self,
        image: RgbImage,
        like: Sequence[BoxXyxy],
        unlike: Sequence[BoxXyxy] = (),
        *,
        confidence_floor: float,
    ) -> ImageDetections:
        """Return the objects in an image that resemble those in `like` but not those in `unlike`. See `BoxPrompted`."""
        import torch

        height, width = image.shape[:2]
        corners = np.array([*like, *unlike], np.float32) / np.array([width, height, width, height], np.float32)
        centres = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
        (features,) = self.embedded([TEXT_OF_BOXES])
        with self.inference():
            seen = self.network.get_vision_features(pixel_values=self.pixels_of([image])["pixel_values"])
            outputs = self._decode(
                seen,
                TEXT_OF_BOXES,
                features,
                1,
                input_boxes=torch.from_numpy(centres)[None].to(self.device),
                input_boxes_labels=torch.tensor([[1] * len(like) + [0] * len(unlike)], device=self.device),
            )
            found = _candidates_on(outputs, 0, image, 0, confidence_floor)
        return detections_from_candidates(
            found.boxes_xyxy,
            found.confidences,
            np.zeros(len(found.columns), np.int32),
            [TEXT_OF_BOXES] * len(found.columns),
            image_wh=(width, height),
            nms_iou=self.nms_iou,
            masks=lambda row: found.masks[row](),
        )

    def _decode(
        self, seen: Any, prompt: str, features: "torch.Tensor", num_images: int, **boxes: "torch.Tensor"
    ) -> Any:
        """Return the network's outputs for one phrase and every image, given the backbone's features."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return self.network(
            vision_embeds=seen,
            text_embeds=BaseModelOutputWithPooling(pooler_output=features.expand(num_images, -1, -1)),
            attention_mask=self.tokens_of(prompt)["attention_mask"].expand(num_images, -1),
            **boxes,
        )


def _candidates_on(outputs: Any, row: int, image: RgbImage, column: int, confidence_floor: float) -> Candidates:
    """Return the candidates of one image at or above `confidence_floor`, for the phrase at index `column`."""
    import torch

    scores = outputs.pred_logits[row].float().sigmoid() * outputs.presence_logits[row].float().sigmoid()
    kept = torch.nonzero(scores >= confidence_floor).flatten()
    height, width = image.shape[:2]
    shapes = outputs.pred_masks[row][kept].float().sigmoid().cpu()
    return Candidates(
        outputs.pred_boxes[row][kept].float().cpu().numpy() * np.array([width, height, width, height], np.float32),
        scores[kept].cpu().numpy(),
        np.full(len(kept), column),
        [partial(mask_of, shape, (width, height), MASK_THRESHOLD) for shape in shapes],
    )


def why_no_exemplars(entry: ModelEntry) -> str | None:
    """Return why the detector accepts no exemplars: SAM 3 expects boxes on the examined image itself."""
    return f"detector {entry.name!r} is a SAM 3, which accepts boxes on the examined image but no other images"


def load(entry: ModelEntry, device: str) -> Sam3Detector:
    """Load an entry of architecture `sam3`, from a checkpoint of the detector or of the video network that contains it.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the model cannot be loaded or does not match its entry.
    """
    from transformers import Sam3Model

    return load_phrase_detector(Sam3Detector, Sam3Model, entry, device)
