"""RT-DETR, RT-DETRv2, D-FINE, DEIMv2 and RF-DETR through transformers: the DETR family that is trained with focal loss.

These networks share an output format. The image processors of the published checkpoints resize images to the network's
square without keeping the aspect ratio, so boxes are relative to width and height.

Source: Zhao et al. 2023, "DETRs Beat YOLOs on Real-time Object Detection"; Lv et al. 2024, "RT-DETRv2"; Peng et al.
2024, "D-FINE"; Huang et al. 2025, "Real-Time Object Detection Meets DINOv3" (DEIMv2); Robinson et al. 2025, "RF-DETR".
"""

from typing import TYPE_CHECKING, Any

from data_miner_dagster.models.detectors.class_detector import ClassDetector, load_class_detector
from data_miner_dagster.models.registry import ModelEntry

if TYPE_CHECKING:
    import torch


class FocalDetrDetector(ClassDetector):
    """Implements ObjectDetector with an RT-DETR, RT-DETRv2, D-FINE, DEIMv2 or RF-DETR network."""

    def __init__(self, network: Any, image_processor: Any, *, name: str, fingerprint: str, device: str) -> None:
        super().__init__(network, image_processor, name=name, fingerprint=fingerprint, device=device)
        # The processor of a user's own model may keep the aspect ratio, and pad a batch's images to the largest.
        self.batches_any_size = bool(image_processor.size.get("height"))

    @staticmethod
    def confidences_of(logits: "torch.Tensor") -> "torch.Tensor":
        """Return the confidences (N, Q, C): the sigmoid of each class's logit, regardless of the other classes."""
        return logits.sigmoid()


def load(entry: ModelEntry, device: str) -> ClassDetector:
    """Load an entry of architecture `rt-detr`, `rt-detr-v2`, `d-fine`, `deimv2` or `rf-detr`.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the checkpoint cannot be loaded, or has another architecture.
    """
    return load_class_detector(FocalDetrDetector, entry, device)
