"""Convert high dynamic range (PQ, HLG) to standard range, relative to paper white, with a roll-off for highlights.

Models are trained on standard-range pictures, and most displays show only these. Light is converted to BT.709
primaries, kept linear up to three quarters of paper white, and rolled off above.
"""

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import RgbImage

PQ: Final = 16  # AVCOL_TRC_SMPTE2084
HLG: Final = 18  # AVCOL_TRC_ARIB_STD_B67
_PAPER_WHITE: Final = 203.0  # cd/m2. Source: ITU-R BT.2408
_HLG_PEAK: Final = 1000.0
_HLG_GAMMA: Final = 1.2
"""The system gamma for a display of 1000 cd/m2. Source: ITU-R BT.2100, table 5."""
_LUMA_WEIGHTS: Final = np.array([0.2627, 0.6780, 0.0593], np.float32)  # Source: ITU-R BT.2020
_BT2020_TO_BT709: Final = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""Source: ITU-R BT.2087, 4."""
_KNEE: Final = 0.75
_STEPS: Final = 4096


def standard_range(rgb16: npt.NDArray[np.uint16], transfer: int) -> RgbImage:
    """Convert an (H, W, 3) picture with BT.2020 primaries and full-range 16-bit values to 8-bit sRGB.

    Args:
        rgb16: the decoded picture, with its transfer function still applied.
        transfer: the picture's transfer function, `PQ` or `HLG`.
    """
    light = _linear_table(transfer)[rgb16 >> 4]
    if transfer == HLG:
        light = light * (np.maximum(light @ _LUMA_WEIGHTS, 1e-6) ** (_HLG_GAMMA - 1))[..., None]
        light = light * np.float32(_HLG_PEAK / _PAPER_WHITE)
    light = cv2.transform(light, _BT2020_TO_BT709)
    np.clip(light, 0.0, None, out=light)
    over = np.maximum(light - _KNEE, 0.0)
    light = np.minimum(light, _KNEE) + (1 - _KNEE) * (1 - np.exp(-over / (1 - _KNEE)))
    return np.asarray(_srgb_table()[np.rint(light * (_STEPS - 1)).astype(np.int32)], np.uint8)


@lru_cache(maxsize=2)
def _linear_table(transfer: int) -> npt.NDArray[np.float32]:
    """Return a table that maps 12-bit codes to displayed light relative to paper white (PQ), or to scene light (HLG).

    Source: ITU-R BT.2100, tables 4 and 5.
    """
    code = np.arange(_STEPS) / (_STEPS - 1)
    if transfer == PQ:
        power = code ** (1 / 78.84375)
        nits = 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (16384 / 2610)
        return (nits / _PAPER_WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


@lru_cache(maxsize=1)
def _srgb_table() -> npt.NDArray[np.uint8]:
    """Return a table that maps light to 8-bit sRGB codes. Source: IEC 61966-2-1."""
    light = np.arange(_STEPS) / (_STEPS - 1)
    code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(code * 255), np.uint8)
