"""Masks from Ultralytics' segmentation networks, as run lengths.

Belongs here: Ultralytics' own processing of masks, applied to a few boxes at a time. Ultralytics' predictor creates one
array with a mask of the whole image for each box, so 300 boxes on a 4K frame would take 2.5 GB.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from data_miner_dagster.domain.masks import Mask

if TYPE_CHECKING:
    import torch

MASKS_AT_A_TIME: Final = 16


@cache
def mask_predictor() -> Any:
    """Return a predictor class for `Model.predict` whose results have `object_masks`, a `Mask` for each box.

    The predictor works like Ultralytics' own with `retina_masks`. Masks are computed at the size of the image and
    cropped to the network's box. A box whose mask is empty is removed.
    """
    from ultralytics.engine.results import Results
    from ultralytics.models.yolo.segment import SegmentationPredictor
    from ultralytics.utils import ops

    class MaskPredictor(SegmentationPredictor):  # type: ignore[misc]
        def construct_result(
            self, pred: "torch.Tensor", img: "torch.Tensor", orig_img: Any, img_path: str, proto: "torch.Tensor"
        ) -> Any:
            pred[:, :4] = ops.scale_boxes(img.shape[2:], pred[:, :4], orig_img.shape)
            masks: list[Mask] = []
            for start in range(0, len(pred), MASKS_AT_A_TIME):
                rows = pred[start : start + MASKS_AT_A_TIME]
                pixels = ops.process_mask_native(proto, rows[:, 6:], rows[:, :4], orig_img.shape[:2])
                masks += [_mask_in_box(one, box) for one, box in zip(pixels, rows[:, :4].tolist(), strict=True)]
            kept = [row for row, mask in enumerate(masks) if mask.area]
            result = Results(orig_img, path=img_path, names=self.model.names, boxes=pred[kept, :6])
            result.object_masks = [masks[row] for row in kept]
            return result

    return MaskPredictor


def _mask_in_box(pixels: "torch.Tensor", box_xyxy: list[float]) -> Mask:
    """Return a mask of the image from its (H, W) `pixels`. Pixels outside the box are cleared."""
    height, width = pixels.shape
    left, top = (min(max(int(edge), 0), side) for edge, side in zip(box_xyxy[:2], (width, height), strict=True))
    right, bottom = (min(max(int(edge) + 1, 0), side) for edge, side in zip(box_xyxy[2:], (width, height), strict=True))
    region = pixels[top:bottom, left:right].cpu().numpy().astype(bool)
    return Mask.of_region(region, left_top=(left, top), resolution_wh=(width, height))
