"""Split an image into tiles, and merge the boxes that were detected on the tiles."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array, ImageDetections
from data_miner_dagster.stages.detection.boxes import take_rows

Window = tuple[int, int, int, int]
"""A tile: (left, top, right, bottom) in pixels of the image. Right and bottom are exclusive."""


def tile_windows(image_wh: tuple[int, int], *, side: int, overlap: float, include_whole: bool) -> list[Window]:
    """Return evenly spaced tiles that cover the image, row by row, each at most `side` wide and high.

    A tile is smaller only if the image is. Neighbours share at least `overlap` of a side. An image no larger than a
    tile becomes a single tile. If `include_whole` is true, the whole image is added in front of two or more tiles.

    Example:
        >>> tile_windows((1000, 600), side=640, overlap=0.2, include_whole=True)
        [(0, 0, 1000, 600), (0, 0, 640, 600), (360, 0, 1000, 600)]
    """
    width, height = image_wh
    windows = [
        (left, top, min(left + side, width), min(top + side, height))
        for top in _starts(height, side, overlap)
        for left in _starts(width, side, overlap)
    ]
    whole = (0, 0, width, height)
    return [whole, *windows] if include_whole and windows != [whole] else windows


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    step = max(1, int(side * (1 - overlap)))
    count = -(-(length - side) // step) + 1
    return [round(index * (length - side) / (count - 1)) for index in range(count)]


def merge_tiles(
    found: Sequence[ImageDetections], windows: Sequence[Window], image_wh: tuple[int, int], *, merge_iou: float
) -> ImageDetections:
    """Merge the detections on all tiles into detections on the image.

    Two boxes of a class from different tiles are one object if they share more than `merge_iou` of the smaller
    box's area. If an inner tile edge cuts only one of them, the other is kept. Otherwise the more confident one is
    kept. Masks are moved along with their boxes. The result is sorted by descending confidence.

    Args:
        found: the detections on each tile, in pixels of the tile.
        windows: the tiles, as `tile_windows` returned them.
        image_wh: width and height of the image.
        merge_iou: the minimum share of the smaller box's area, exclusive.
    """
    if not any(len(detections.prompts) for detections in found):
        return ImageDetections.empty()
    moved = [
        detections.boxes_xyxy + np.array([left, top, left, top], np.float32)
        for detections, (left, top, _, _) in zip(found, windows, strict=True)
    ]
    merged = ImageDetections(
        boxes_xyxy=np.concatenate(moved).astype(np.float32),
        confidences=np.concatenate([detections.confidences for detections in found]),
        class_indices=np.concatenate([detections.class_indices for detections in found]),
        prompts=tuple(prompt for detections in found for prompt in detections.prompts),
        masks=tuple(mask for detections in found for mask in detections.masks),
    )
    is_cut = np.concatenate(
        [_touches_inner_edge(boxes, window, image_wh) for boxes, window in zip(moved, windows, strict=True)]
    )
    window_of_row = np.repeat(np.arange(len(found)), [len(detections.prompts) for detections in found])
    # Uncut boxes come first, since a part of an object must never suppress the whole object.
    order = np.lexsort((-merged.confidences, is_cut))
    shares = _shares_of_smaller(merged.boxes_xyxy)
    kept: list[int] = []
    for row in order.tolist():
        rivals = [
            other
            for other in kept
            if merged.class_indices[other] == merged.class_indices[row] and window_of_row[other] != window_of_row[row]
        ]
        if not (shares[row, rivals] > merge_iou).any():
            kept.append(row)
    rows = np.array(kept, np.intp)
    rows = rows[np.argsort(-merged.confidences[rows], kind="stable")]
    masks = tuple(
        mask and mask.moved(windows[window][:2], image_wh)
        for mask, window in ((merged.masks[row], window_of_row[row]) for row in rows)
    )
    return replace(take_rows(merged, rows), masks=masks)


def _touches_inner_edge(boxes_xyxy: Float32Array, window: Window, image_wh: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return an (N,) mask of the boxes that reach within a pixel of a window edge that is not an edge of the image."""
    left, top, right, bottom = window
    touches = np.zeros(len(boxes_xyxy), bool)
    for column, edge, is_inner in (
        (0, left, left > 0),
        (1, top, top > 0),
        (2, right, right < image_wh[0]),
        (3, bottom, bottom < image_wh[1]),
    ):
        if is_inner:
            touches |= np.abs(boxes_xyxy[:, column] - edge) <= 1
    return touches


def _shares_of_smaller(boxes_xyxy: Float32Array) -> npt.NDArray[np.float64]:
    """Return the (N, N) areas of intersection, each divided by the area of the smaller of the two boxes."""
    boxes = boxes_xyxy.astype(np.float64)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    intersections = np.clip(high - low, 0, None).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    shares: npt.NDArray[np.float64] = intersections / np.maximum(np.minimum(areas[:, None], areas[None, :]), 1e-9)
    return shares
