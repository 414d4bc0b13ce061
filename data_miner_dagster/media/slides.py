"""Measure the shares of a picture that are text or plain surface. Text is recognized by its shape, and is not read."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

_STROKE_CONTRAST: Final = 60
_PLAIN_CONTRAST: Final = 3
"""The contrast, in grey levels, of the noise that compression adds to a surface of one colour."""
_GAP_SHARE: Final = 1 / 30
"""The greatest distance between letters or words of a line, as a share of the picture's height."""
_LINE_HEIGHT_SHARES: Final = (0.012, 0.14)
_LEAST_ASPECT: Final = 2.5
_LEAST_FILLING: Final = 0.5


@dataclass(frozen=True, slots=True)
class SlideMeasures:
    """Shares of the picture's area (0..1): inside lines of text, and without any texture."""

    text_share: float
    plain_share: float


def measure_slide(luma: npt.NDArray[np.uint8]) -> SlideMeasures:
    """Return the measures of an (H, W) luma plane with a few hundred lines.

    Letters appear as strong gradients that are close together. After a morphological closing along the line, a row of
    high gradients becomes a long, low, well-filled area. Source: text localization by morphological gradient, Hasan and
    Karam, "Morphological text extraction from images", IEEE Transactions on Image Processing 9 (2000).
    """
    height = len(luma)
    gradient = cv2.morphologyEx(luma, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    strokes = cv2.compare(gradient, _STROKE_CONTRAST, cv2.CMP_GT)
    lines = cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, np.ones((1, max(3, round(height * _GAP_SHARE))), np.uint8))
    _, _, areas, _ = cv2.connectedComponentsWithStats(lines)
    areas = areas[1:]  # the first is the background
    line_widths, line_heights = areas[:, cv2.CC_STAT_WIDTH], areas[:, cv2.CC_STAT_HEIGHT]
    boxes = line_widths * line_heights
    lowest, highest = (share * height for share in _LINE_HEIGHT_SHARES)
    is_text = (
        (line_heights >= lowest)
        & (line_heights <= highest)
        & (line_widths >= _LEAST_ASPECT * line_heights)
        & (areas[:, cv2.CC_STAT_AREA] >= _LEAST_FILLING * boxes)
    )
    num_plain = luma.size - cv2.countNonZero(cv2.compare(gradient, _PLAIN_CONTRAST, cv2.CMP_GT))
    return SlideMeasures(
        text_share=min(1.0, float(boxes[is_text].sum()) / luma.size), plain_share=num_plain / luma.size
    )
