"""RT-DETR, RT-DETRv2 and D-FINE through transformers, which share preprocessing and output format.

Images are resized to the network's square without keeping the aspect ratio, so boxes are relative to width and height.

Source: Zhao et al. 2023, "DETRs Beat YOLOs on Real-time Object Detection"; Peng et al. 2024, "D-FINE".
"""

from typing import TYPE_CHECKING, ClassVar

from data_miner_dagster.models.detectors.class_detector import ClassDetector, load_class_detector
from data_miner_dagster.models.registry import ModelEntry

if TYPE_CHECKING:
    import torch


class RtDetrDetector(ClassDetector):
    """Implements ObjectDetector."""

    batches_any_size: ClassVar[bool] = True

    @staticmethod
    def confidences_of(logits: "torch.Tensor") -> "torch.Tensor":
        """Return confidences (N, Q, C). Classes are independent of each other (focal loss)."""
        return logits.sigmoid()


def load(entry: ModelEntry, device: str) -> ClassDetector:
    """Load an entry of architecture `rt-detr`.

    Raises:
        ModelError: it cannot be loaded, or is of another architecture.
    """
    return load_class_detector(RtDetrDetector, entry, device, model_types=("rt_detr", "rt_detr_v2", "d_fine"))
