"""Conversion of boxes between absolute pixels and shares of the picture's width and height.

Verdicts store shares. Detections and releases store pixels.
"""

from data_miner_dagster.domain.verdicts import RelativeBox

BoxXyxy = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max in absolute pixels."""


def pixels_of(box: RelativeBox, resolution_wh: tuple[int, int]) -> BoxXyxy:
    """Convert a box from shares to absolute pixels of a picture of size `resolution_wh`."""
    width, height = resolution_wh
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def shares_of(box_xyxy: BoxXyxy, resolution_wh: tuple[int, int]) -> RelativeBox | None:
    """Return the part of a box inside its picture, as shares, or None if that part is empty."""
    x_min, x_max = (_share(value, resolution_wh[0]) for value in (box_xyxy[0], box_xyxy[2]))
    y_min, y_max = (_share(value, resolution_wh[1]) for value in (box_xyxy[1], box_xyxy[3]))
    return (x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None


def _share(value: float, side: int) -> float:
    return min(max(value / side, 0.0), 1.0)
