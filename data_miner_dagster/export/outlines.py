"""Masks as the polygons that formats expect, and polygons as the pixels that their readers make of them.

Belongs here: pure functions of a mask. Does not belong here: files.
"""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.masks import Mask, MaskPixels, mask_iou

MIN_IOU: Final = 0.99
"""Limit of the IoU between a format's outline, read by the format's own library, and the mask."""
_WANTED_IOU: Final = 0.995
"""Of a polygon with fewer corners than the mask has."""
_TOLERANCES: Final = (1.0, 0.5)
"""In pixels: how far a polygon may leave the outline to have fewer corners. Coarse ones first."""
_FEW_CORNERS: Final = 32
"""With so few, a polygon needs no fewer."""
_MAX_RINGS: Final = 64
"""Parts of a YOLO polygon, and holes of each; the largest. More are noise."""
_MARGIN: Final = 0.02
"""In pixels: how near the points of a YOLO polygon come to the edge of their pixels. Six decimals of a share must not
lead into the next one."""

Ring = npt.NDArray[np.int32]
"""(K, 2) corners or pixels."""


def coco_segmentation(mask: Mask, *, is_crowd: bool) -> list[list[float]] | dict[str, Any]:
    """Return COCO's `segmentation` of a mask: polygons if they are exact, else run lengths.

    Polygons are along the edges of pixels. pycocotools fills them to the mask with an IoU of at least 0.99, as a rule
    exactly. COCO's polygons have no holes, so a mask that is not nearly without is its run lengths, and so is a region
    to ignore, as everywhere in COCO, and one whose polygons would be longer.
    """
    if is_crowd:
        return mask.as_coco()
    rings = _edge_rings(mask)
    exact = [_simplified(ring, 0.0).astype(np.float64) for ring in rings]
    middles = [ring + np.roll(ring, -1, axis=0) for ring in rings]  # of the edges of pixels, in half pixels
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
    """Return what pycocotools makes of a `segmentation`."""
    from pycocotools import mask as coco_masks

    if isinstance(segmentation, dict):
        return Mask.from_coco(segmentation)
    width, height = resolution_wh
    rle = coco_masks.merge(coco_masks.frPyObjects([list(ring) for ring in segmentation], height, width))
    return Mask(resolution_wh, rle["counts"].decode("ascii"))


def yolo_polygon(mask: Mask) -> npt.NDArray[np.float64]:
    """Return the one polygon that a line of YOLO's labels has for an object: (K, 2) points in pixels, at least three.

    Ultralytics drops the fractions of points and fills the polygon with its edge. So points lie in the pixels of the
    outline, and near the outer edges of the outermost: the box around them is the mask's. Holes, and parts of one
    object, are joined by lines that are traversed twice. Inside the object that changes nothing. Between parts it adds
    a line of pixels, so a part that is smaller than the line to it is left out.
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
    if (low == high).any():  # one row or column of pixels, around which the polygon has to go
        return yolo_rectangle((*low, *(high + 1))) + left_top
    points = np.where(loop == low, low + _MARGIN, np.where(loop == high, high + 1 - _MARGIN, loop + 0.5))
    return (points if len(points) >= 3 else points[[0, -1, -1]]) + left_top


def yolo_rectangle(box_xyxy: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the corners of a box, shrunk slightly, as the polygon of an object without a mask."""
    left, top, right, bottom = np.asarray(box_xyxy, np.float64) + np.array([_MARGIN, _MARGIN, -_MARGIN, -_MARGIN])
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def mask_of_yolo(points: npt.NDArray[np.float64], resolution_wh: tuple[int, int]) -> Mask:
    """Return what Ultralytics makes of a polygon in pixels, at the size of the image.

    Source: `ultralytics.data.utils.polygon2mask`.
    """
    return Mask.of(_filled(points.astype(np.int32), resolution_wh[::-1]))


def svg_path(mask: Mask) -> str:
    """Return the outline of a mask as a path of SVG, in pixels of the picture, to be filled by the rule `evenodd`."""
    rings = (_simplified(ring, _TOLERANCES[-1]) for ring in _edge_rings(mask, with_holes=True))
    return "".join("M" + "L".join(f"{x} {y}" for x, y in ring.tolist()) + "Z" for ring in rings)


def _edge_rings(mask: Mask, *, with_holes: bool = False) -> list[Ring]:
    """Return the edges of a mask's parts, as corners of pixels of the picture: the outer ones, or all of them."""
    region, left_top = mask.region()
    doubled = region.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)  # a pixel's left and right edge differ
    mode = cv2.RETR_CCOMP if with_holes else cv2.RETR_EXTERNAL
    rings, _ = cv2.findContours(doubled, mode, cv2.CHAIN_APPROX_NONE)
    return [_without_repeats((ring.reshape(-1, 2) + 1) // 2) + left_top for ring in rings]


def _without_repeats(ring: Ring) -> Ring:
    kept: Ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    return kept


def _simplified(ring: Ring, tolerance: float) -> Ring:
    """Return a ring without the points that are within the tolerance of the lines between the others."""
    simple: Ring = cv2.approxPolyDP(ring.reshape(-1, 1, 2).astype(np.int32), tolerance, True).reshape(-1, 2)
    return simple


def _pixel_rings(region: MaskPixels) -> list[list[Ring]]:
    """Return the parts of a mask, largest first: the pixels around the part, then those around each of its holes."""
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
    """Return one closed line around all parts of a mask, with their holes outside of it."""
    loops = [_with_rings(outer, holes) for outer, *holes in parts]
    sizes = [cv2.contourArea(outer) + cv2.arcLength(outer, True) / 2 + 1 for outer, *_ in parts]  # about, in pixels
    return _with_rings(loops[0], loops[1:], sizes[1:])


def _with_rings(loop: Ring, rings: Sequence[Ring], max_lengths: Sequence[float] | None = None) -> Ring:
    """Return a closed line that goes to each ring, around it and back: nearest first, so no way crosses another ring.

    A ring is left out if the way to it is longer than its `max_lengths`.
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
    """Return the length of the shortest way between points of two rings, its start and its end."""
    distances = ((loop[:, None].astype(np.float32) - ring[None].astype(np.float32)) ** 2).sum(axis=2)
    start, stop = np.unravel_index(distances.argmin(), distances.shape)
    return float(distances[start, stop]) ** 0.5, loop[start], ring[stop]


def _filled(points: Ring, shape: tuple[int, ...]) -> MaskPixels:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [points.reshape(-1, 1, 2).astype(np.int32)], 1)
    return canvas.astype(bool)


def _iou(one: MaskPixels, other: MaskPixels) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))
