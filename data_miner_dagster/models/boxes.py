"""The last step of every detector: convert candidates to `ImageDetections` that satisfy the protocol."""

from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import Float32Array, ImageDetections

MAX_BOXES: Final = 300
"""The maximum number of boxes per image. The most confident ones are kept. COCO's evaluation considers 100."""
MIN_SIDE_PIXELS: Final = 1.0
"""The minimum width and height of a box after clipping. Thinner boxes are removed."""


def detections_from_candidates(  # noqa: PLR0913 - the columns of one table
    boxes_xyxy: Float32Array,
    confidences: Float32Array,
    class_indices: npt.NDArray[np.int32],
    prompts: Sequence[str],
    *,
    image_wh: tuple[int, int],
    nms_iou: float | None,
    masks: Callable[[int], Mask | None] | None = None,
) -> ImageDetections:
    """Clip candidates to the image, apply NMS within each class, and return the result by descending confidence.

    Boxes thinner than `MIN_SIDE_PIXELS`, boxes whose confidence is not finite, and those after the first `MAX_BOXES`
    are removed. Ties in confidence are broken by class, then by coordinates, so the result does not depend on the
    network's order. Finally, a box with a mask is replaced by the mask's bounds. An empty mask counts as absent.

    Args:
        boxes_xyxy: (N, 4) in absolute pixels; may reach outside the image.
        confidences: (N,), all at or above the confidence floor.
        class_indices: (N,) indices into the requested class list.
        prompts: the N phrases that matched.
        image_wh: width and height of the image.
        nms_iou: if two boxes of a class have a higher IoU, the less confident is removed. If None, NMS is not applied.
        masks: a function that returns the mask of a candidate, given its row. It is called only for the boxes that are
            kept, one at a time. If `masks` is None, no box has a mask.

    Raises:
        ValueError: the size of a mask is not `image_wh`.
    """
    limits = np.array([*image_wh, *image_wh], np.float32)
    clipped = np.clip(boxes_xyxy, np.float32(0), limits).astype(np.float32)
    sides = clipped[:, 2:] - clipped[:, :2]
    rows = np.flatnonzero((sides >= MIN_SIDE_PIXELS).all(axis=1) & np.isfinite(confidences))
    keys = (*clipped[rows].T[::-1], class_indices[rows], -confidences[rows])
    rows = rows[np.lexsort(keys)]
    if nms_iou is not None and len(rows):
        # OpenCV's NMS, since torchvision's would load torch for all detectors. It ignores scores of -1 or less.
        corners_and_sizes = np.hstack([clipped[rows, :2], sides[rows]]).tolist()
        columns = (corners_and_sizes, confidences[rows].tolist(), class_indices[rows].tolist())
        rows = rows[np.sort(np.asarray(cv2.dnn.NMSBoxesBatched(*columns, -1.0, nms_iou), np.intp))]
    rows = rows[:MAX_BOXES]
    kept_masks = [_mask_of(row, masks, image_wh) for row in rows.tolist()]
    boxes = [mask.bounds_xyxy if mask else clipped[row] for row, mask in zip(rows.tolist(), kept_masks, strict=True)]
    return ImageDetections(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        confidences=confidences[rows].astype(np.float32),
        class_indices=class_indices[rows].astype(np.int32),
        prompts=tuple(prompts[row] for row in rows.tolist()),
        masks=tuple(kept_masks),
    )


def _mask_of(row: int, masks: Callable[[int], Mask | None] | None, image_wh: tuple[int, int]) -> Mask | None:
    mask = masks(row) if masks is not None else None
    if mask is not None and mask.resolution_wh != image_wh:
        raise ValueError(f"the size of a mask is {mask.resolution_wh}, but the size of its image is {image_wh}")
    return mask if mask is not None and mask.area else None
