"""Vectors of exemplars for YOLOE, in the same space as the vectors of phrases.

Belongs here: visual prompts, computed with Ultralytics' own predictor. Does not belong here: phrases, and setting a
network's vectors (yolo_phrases.py).

Source: Wang et al. 2025, "YOLOE", section 3.3 (SAVPE).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from data_miner_dagster.domain.records import ExemplarImage

if TYPE_CHECKING:
    import torch

MAX_EMBEDDED: Final = 4096
"""The maximum number of cached vectors, one per exemplar. A detector serves all projects of its process."""


class VisualHalf:
    """Computes the vectors of exemplars, and caches them."""

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        self._device = device
        self._embedded: dict[ExemplarImage, torch.Tensor] = {}

    def embed(self, exemplars: Sequence[ExemplarImage]) -> "torch.Tensor":
        """Return the normalized mean (D,) of the vectors of a class's exemplars, on the CPU.

        Several boxes on one picture form one prompt. The vectors of several pictures are averaged. Ultralytics' own
        validation of visual prompts does the same.

        Raises:
            ConfigError: an exemplar cannot be read.
        """
        import torch

        if len(self._embedded) + len(exemplars) > MAX_EMBEDDED:
            self._embedded.clear()
        missing = [exemplar for exemplar in exemplars if exemplar not in self._embedded]
        predictor = self._predictor() if missing else None
        for exemplar in missing:
            self._embedded[exemplar] = _vector_of(exemplar, predictor)
        mean = torch.stack([self._embedded[exemplar] for exemplar in exemplars]).mean(dim=0)
        return torch.nn.functional.normalize(mean, dim=-1)

    def _predictor(self) -> Any:
        """Return Ultralytics' predictor for visual prompts, with a copy of the network."""
        from ultralytics.models.yolo.yoloe import YOLOEVPDetectPredictor, YOLOEVPSegPredictor

        task = self._model.task
        settings = {"task": task, "mode": "predict", "save": False, "batch": 1, "verbose": False, "rect": False}
        kind = YOLOEVPSegPredictor if task == "segment" else YOLOEVPDetectPredictor
        predictor = kind(overrides={**self._model.overrides, **settings, "device": self._device})
        predictor.setup_model(model=self._model.model, verbose=False)
        return predictor


def _vector_of(exemplar: ExemplarImage, predictor: Any) -> "torch.Tensor":
    image = exemplar.read()
    height, width = image.shape[:2]
    boxes = np.array(exemplar.boxes_xyxy or [(0, 0, width, height)], np.float32)
    predictor.set_prompts({"bboxes": boxes, "cls": np.zeros(len(boxes), np.int64)})
    vectors = predictor.get_vpe(np.ascontiguousarray(image[..., ::-1]))  # Ultralytics expects arrays in BGR
    vector: torch.Tensor = vectors[0, 0].float().cpu()
    return vector
