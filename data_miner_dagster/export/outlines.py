"""Convert masks to the polygons that formats expect, and polygons to the pixels that the formats' readers fill.

Belongs here: pure functions on masks. Does not belong here: reading and writing files.
"""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.masks import Mask, MaskPixels, mask_iou

MIN_IOU: Final = 0.99
"""The minimum IoU between a mask and its outline as the format's own library reads it."""
_WANTED_IOU: Final = 0.995
"""The minimum IoU between a mask and the polygons that replace it."""
_TOLERANCES: Final = (1.0, 0.5)
"""Tolerances in pixels for removing corners from a polygon. The coarsest is tried first."""
_FEW_CORNERS: Final = 32
"""For COCO, an outline with at most this many corners is tried unchanged before it is simplified."""
_MAX_RINGS: Final = 64
"""The maximum number of parts in a YOLO polygon, and of holes in each part. The smallest are omitted as noise."""
_MARGIN: Final = 0.02
"""The distance in pixels between a point of a YOLO polygon and the edge of its pixel. Rounding coordinates to six
decimals must not move the point into the next pixel."""

Ring = npt.NDArray[np.int32]
"""A closed line as a (K, 2) array of corners or pixels."""


def coco_segmentation(mask: Mask, *, is_crowd: bool) -> list[list[float]] | dict[str, Any]:
    """Convert a mask to COCO's `segmentation`: polygons if they represent the mask well, or else run lengths.

    Polygons with at most 32 corners in total follow the edges of pixels, and longer ones are simplified. If
    simplifying changes the mask too much, longer ones follow the edges, too, unless they would take more space than run
    lengths. The mask that pycocotools reads from polygons has an IoU of at least 0.995 with the original. If no
    polygons achieve this, for example because the mask has significant holes, which COCO's polygons cannot have, run
    lengths are used. As is usual in COCO, run lengths are always used for regions to ignore (`is_crowd`).
    """
    if is_crowd:
        return mask.as_coco()
    rings = _edge_rings(mask)
    exact = [_simplified(ring, 0.0).astype(np.float64) for ring in rings]
    middles = [ring + np.roll(ring, -1, axis=0) for ring in rings]  # the middles of the pixels' edges, in half pixels
    for polygons in (
        exact if sum(map(len, exact)) <= _FEW_CORNERS else [],
        *([_simplified(ring, 2 * tolerance) / 2 for ring in middles] for tolerance in _TOLERANCES),
        exact if 2 * sum(map(len, exact)) <= len(mask.counts) else [],
    ):
        flat = [ring.ravel().tolist() for ring in polygons if len(ring) >= 3]
        if flat and mask_iou(mask_of_coco(flat, mask.resolution_wh), mask) >= _WANTED_IOU:
            return flat
    return mask.as_coco()


def mask_of_coco(segmentation: Sequence[Sequence[float]] | dict[str, Any], resolution_wh: tuple[int, int]) -> Mask:
    """Convert COCO's `segmentation` to a mask exactly as pycocotools does."""
    from pycocotools import mask as coco_masks

    if isinstance(segmentation, dict):
        return Mask.from_coco(segmentation)
    width, height = resolution_wh
    rle = coco_masks.merge(coco_masks.frPyObjects([list(ring) for ring in segmentation], height, width))
    return Mask(resolution_wh, rle["counts"].decode("ascii"))


def yolo_polygon(mask: Mask) -> npt.NDArray[np.float64]:
    """Convert a non-empty mask to one polygon for a YOLO label line: a (K, 2) array of at least three points in pixels.

    Ultralytics truncates coordinates and fills the polygon including its edge. Therefore, points lie within the pixels
    of the outline, close to the outer edges of the outermost pixels. Holes and parts of an object are joined by lines
    that are traversed twice. Such a line changes nothing inside the object, but adds a line of pixels between parts, so
    a part that is smaller than the line to it is omitted.
    """
    region, left_top = mask.region()
    parts = _pixel_rings(region)
    loop = exact = _joined(parts)
    for tolerance in _TOLERANCES:
        simple = _joined([[_simplified(ring, tolerance) for ring in part] for part in parts])
        if _iou(_filled(simple, region.shape), _filled(exact, region.shape)) >= _WANTED_IOU:
            loop = simple
            break
    low, high = loop.min(axis=0), loop.max(axis=0)
    if (low == high).any():  # a single row or column of pixels, which the polygon has to surround
        return yolo_rectangle((*low, *(high + 1))) + left_top
    points = np.where(loop == low, low + _MARGIN, np.where(loop == high, high + 1 - _MARGIN, loop + 0.5))
    return (points if len(points) >= 3 else points[[0, -1, -1]]) + left_top


def yolo_rectangle(box_xyxy: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the corners of a slightly shrunken box, as the polygon of an object without a mask."""
    left, top, right, bottom = np.asarray(box_xyxy, np.float64) + np.array([_MARGIN, _MARGIN, -_MARGIN, -_MARGIN])
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def mask_of_yolo(points: npt.NDArray[np.float64], resolution_wh: tuple[int, int]) -> Mask:
    """Convert a polygon in pixels to the mask that Ultralytics fills for it, at the image's size.

    Source: `ultralytics.data.utils.polygon2mask`.
    """
    return Mask.of(_filled(points.astype(np.int32), resolution_wh[::-1]))


def svg_path(mask: Mask) -> str:
    """Return a mask's outline as an SVG path in image pixels, for the fill rule `evenodd`."""
    rings = (_simplified(ring, _TOLERANCES[-1]) for ring in _edge_rings(mask, with_holes=True))
    return "".join("M" + "L".join(f"{x} {y}" for x, y in ring.tolist()) + "Z" for ring in rings)


def _edge_rings(mask: Mask, *, with_holes: bool = False) -> list[Ring]:
    """Return the outer edges of a mask's parts, and with `with_holes` also the edges of its holes, as pixel corners."""
    region, left_top = mask.region()
    doubled = region.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)  # separates a pixel's left and right edge
    mode = cv2.RETR_CCOMP if with_holes else cv2.RETR_EXTERNAL
    rings, _ = cv2.findContours(doubled, mode, cv2.CHAIN_APPROX_NONE)
    return [_without_repeats((ring.reshape(-1, 2) + 1) // 2) + left_top for ring in rings]


def _without_repeats(ring: Ring) -> Ring:
    kept: Ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    return kept


def _simplified(ring: Ring, tolerance: float) -> Ring:
    """Remove points from a ring such that the rest deviates from it by at most `tolerance`."""
    simple: Ring = cv2.approxPolyDP(ring.reshape(-1, 1, 2).astype(np.int32), tolerance, True).reshape(-1, 2)
    return simple


def _pixel_rings(region: MaskPixels) -> list[list[Ring]]:
    """Return the parts of a mask, largest first: the ring around each part, then the rings around its holes.

    At most `_MAX_RINGS` parts are returned, and at most as many holes of each.
    """
    contours, hierarchy = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    by_outer: dict[int, list[Ring]] = {}
    parents = hierarchy[0, :, 3].tolist()
    for index in sorted(range(len(parents)), key=lambda index: parents[index] >= 0):
        by_outer.setdefault(index if parents[index] < 0 else parents[index], []).append(contours[index].reshape(-1, 2))
    parts = list(by_outer.values())
    parts.sort(key=lambda part: -cv2.contourArea(part[0]))
    return [[outer, *sorted(holes, key=lambda hole: -cv2.contourArea(hole))[:_MAX_RINGS]] for outer, *holes in parts][
        :_MAX_RINGS
    ]


def _joined(parts: Sequence[Sequence[Ring]]) -> Ring:
    """Join the parts of a mask, except small distant ones, into one closed line that excludes their holes."""
    loops = [_with_rings(outer, holes) for outer, *holes in parts]
    sizes = [cv2.contourArea(outer) + cv2.arcLength(outer, True) / 2 + 1 for outer, *_ in parts]  # roughly, in pixels
    return _with_rings(loops[0], loops[1:], sizes[1:])


def _with_rings(loop: Ring, rings: Sequence[Ring], max_lengths: Sequence[float] | None = None) -> Ring:
    """Extend a closed line to visit rings. The nearest ring comes first, so that no path crosses another ring.

    A ring is omitted if the path to it is longer than its entry in `max_lengths`.
    """
    ways = {index: _way(loop, ring) for index, ring in enumerate(rings)}
    while ways:
        index, (length, start, stop) = min(ways.items(), key=lambda entry: (entry[1][0], entry[0]))
        del ways[index]
        if max_lengths is not None and length > max_lengths[index]:
            continue
        ring = rings[index]
        at = int(np.flatnonzero((loop == start).all(axis=1))[0])
        first = int(np.flatnonzero((ring == stop).all(axis=1))[0])
        loop = np.concatenate([loop[: at + 1], ring[first:], ring[: first + 1], loop[at:]])
        for other in ways:
            ways[other] = min(ways[other], _way(ring, rings[other]), key=lambda way: way[0])
    return loop


def _way(loop: Ring, ring: Ring) -> tuple[float, Ring, Ring]:
    """Return the (length, start, end) of the shortest path from a point of `loop` to a point of `ring`."""
    distances = ((loop[:, None].astype(np.float32) - ring[None].astype(np.float32)) ** 2).sum(axis=2)
    start, stop = np.unravel_index(distances.argmin(), distances.shape)
    return float(distances[start, stop]) ** 0.5, loop[start], ring[stop]


def _filled(points: Ring, shape: tuple[int, ...]) -> MaskPixels:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [points.reshape(-1, 1, 2).astype(np.int32)], 1)
    return canvas.astype(bool)


def _iou(one: MaskPixels, other: MaskPixels) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))
