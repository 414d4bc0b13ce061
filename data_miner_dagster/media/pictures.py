"""Convert decoded frames to stored pictures (upright, square pixels, full range, BT.601), and encode them.

JPEG stores luma and chroma as decoders output them. The common case (8 bit, 4:2:0) is therefore encoded from the
decoder's own planes: only the range and matrix change, and no RGB is computed. Everything else goes through RGB once.
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from av.video.frame import VideoFrame
from PIL import Image

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.media.high_range import HLG, PQ, standard_range

Plane = npt.NDArray[np.uint8]

_PLANAR_420: Final = frozenset({"yuv420p", "yuvj420p"})
_FULL_RANGE: Final = 2  # AVCOL_RANGE_JPEG
_BT709: Final = 1  # AVCOL_SPC_BT709
_LIKE_BT601: Final = frozenset({0, 2, 3, 4, 5, 6})  # AVCOL_SPC_: RGB, unknown, reserved, FCC, BT470BG, SMPTE170M
_HIGH_RANGE: Final = frozenset({PQ, HLG})
_LUMA_WEIGHTS_BT601: Final = (0.299, 0.114)  # red, blue. Source: ITU-R BT.601
_LUMA_WEIGHTS_BT709: Final = (0.2126, 0.0722)  # Source: ITU-R BT.709


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with full-range `luma` (H, W), and either `chroma` (two half-size planes) or `rgb` (H, W, 3)."""

    luma: Plane
    chroma: tuple[Plane, Plane] | None
    rgb: RgbImage | None

    @property
    def resolution_wh(self) -> tuple[int, int]:
        """The width and height in pixels."""
        height, width = self.luma.shape
        return width, height


def picture_of(frame: VideoFrame, *, sample_aspect_ratio: Fraction | None = None) -> Picture:
    """Return the picture of a decoded frame.

    Args:
        frame: the decoded frame, in any pixel format.
        sample_aspect_ratio: the width over the height of a pixel, which scales the picture's width. None, 0 and 1
            mean square pixels.
    """
    is_square = sample_aspect_ratio is None or sample_aspect_ratio in (0, 1)
    colorspace = int(frame.colorspace)
    is_plain = int(frame.color_trc) not in _HIGH_RANGE and (colorspace == _BT709 or colorspace in _LIKE_BT601)
    orientation = _orientation(frame)
    if frame.format.name in _PLANAR_420 and is_square and is_plain and orientation == _AS_STORED:
        y, u, v = (plane_of(frame, position) for position in range(3))
        is_full = frame.format.name == "yuvj420p" or int(frame.color_range) == _FULL_RANGE
        if colorspace == _BT709:
            return Picture(*_from_bt709(y, u, v, is_full=is_full), rgb=None)
        if is_full:
            return Picture(y, (u, v), rgb=None)
        luma_table, chroma_table = _full_range_tables()
        return Picture(cv2.LUT(y, luma_table), (cv2.LUT(u, chroma_table), cv2.LUT(v, chroma_table)), rgb=None)
    aspect = Fraction(1) if is_square or sample_aspect_ratio is None else sample_aspect_ratio
    rgb = orientation.applied_to(_rgb(frame, aspect))
    return Picture(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None, rgb)


def plane_of(frame: VideoFrame, position: int) -> Plane:
    """Return a view of a plane of an 8-bit planar frame, without padding. It is valid while the frame exists."""
    plane = frame.planes[position]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


@lru_cache(maxsize=1)
def _full_range_tables() -> tuple[Plane, Plane]:
    """Return the lookup tables, for luma and for chroma, from limited range (16..235 and 16..240) to full range."""
    codes = np.arange(256, dtype=np.float64)
    luma = np.clip(np.rint((codes - 16) * 255 / 219), 0, 255)
    chroma = np.clip(np.rint((codes - 128) * 255 / 224 + 128), 0, 255)
    return luma.astype(np.uint8), chroma.astype(np.uint8)


def _rgb_to_ycc(weights: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return the (3, 3) matrix from full-range RGB to YCbCr, with zero-centred chroma, for weights (red, blue)."""
    red, blue = weights
    luma = np.array([red, 1 - red - blue, blue])
    cb = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    cr = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    return np.stack([luma, cb, cr])


@lru_cache(maxsize=2)
def _bt709_to_bt601(is_full: bool) -> tuple[npt.NDArray[np.float64], float, float]:
    """Return the matrix from (Cb, Cr, 1) to (Cb', Cr', change in luma + 128), and the gain and offset of luma."""
    change = _rgb_to_ycc(_LUMA_WEIGHTS_BT601) @ np.linalg.inv(_rgb_to_ycc(_LUMA_WEIGHTS_BT709))
    chroma_gain, luma_gain, black = (1.0, 1.0, 0.0) if is_full else (255 / 224, 255 / 219, 16.0)
    linear = np.stack([change[1, 1:], change[2, 1:], change[0, 1:]]) * chroma_gain
    offset = 128 - linear.sum(axis=1) * 128
    return np.column_stack([linear, offset]), luma_gain, -black * luma_gain - 128


def _from_bt709(y: Plane, u: Plane, v: Plane, *, is_full: bool) -> tuple[Plane, tuple[Plane, Plane]]:
    """Convert BT.709 planes to full-range BT.601 planes.

    Neutral grey is the same in both spaces, so the change in luma depends only on chroma. It is small, and is
    computed at half size.
    """
    matrix, gain, offset = _bt709_to_bt601(is_full)
    # Plane by plane: more than ten times as fast as `cv2.transform` on merged planes, with the same result.
    new_u, new_v, change = (cv2.addWeighted(u, of_u, v, of_v, constant) for of_u, of_v, constant in matrix.tolist())
    doubled = cv2.merge([change, change]).reshape(len(change), -1)[:, : y.shape[1]]
    luma = np.empty_like(y, order="C")
    for parity in (0, 1):  # two lines of luma share one of chroma
        lines = luma[parity::2]
        cv2.addWeighted(y[parity::2], gain, doubled[: len(lines)], 1.0, offset, dst=lines)
    return luma, (new_u, new_v)


def _rgb(frame: VideoFrame, sample_aspect_ratio: Fraction) -> RgbImage:
    width = max(1, round(frame.width * sample_aspect_ratio))
    colorspace: Any = "ITU709" if int(frame.colorspace) == _BT709 else None  # None means what the frame states
    transfer = int(frame.color_trc)
    if transfer in _HIGH_RANGE:
        rgb16 = frame.reformat(width=width, format="rgb48le", src_colorspace=colorspace, interpolation="BICUBIC")
        return standard_range(np.asarray(rgb16.to_ndarray(), np.uint16), transfer)
    rgb = frame.reformat(width=width, format="rgb24", src_colorspace=colorspace, interpolation="BICUBIC")
    return np.asarray(rgb.to_ndarray(), np.uint8)


@dataclass(frozen=True, slots=True)
class _Orientation:
    """The steps that turn a stored picture upright: a transposition, followed by reflections."""

    is_transposed: bool
    is_mirrored: bool  # left to right
    is_flipped: bool  # top to bottom

    def applied_to(self, rgb: RgbImage) -> RgbImage:
        turned = rgb.swapaxes(0, 1) if self.is_transposed else rgb
        return np.ascontiguousarray(turned[:: -1 if self.is_flipped else 1, :: -1 if self.is_mirrored else 1])


_AS_STORED: Final = _Orientation(False, False, False)


def _orientation(frame: VideoFrame) -> _Orientation:
    """Return the orientation that the container requests, to the nearest quarter turn.

    Source: ISO/IEC 14496-12, 8.5.2.3; the matrix (a b u; c d v; x y w) maps a point (p, q) to (ap + cq, bp + dq).
    """
    side: Any = frame.side_data.get("DISPLAYMATRIX")
    if side is None or side.buffer_size < 9 * 4:
        return _AS_STORED
    a, b, _, c, d = np.frombuffer(memoryview(side), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return _Orientation(True, c < 0, b < 0)
    return _Orientation(False, a < 0, d < 0)


def encode(picture: Picture, image_format: Literal["jpg", "png", "webp"], quality: int) -> bytes:
    """Return the picture encoded as an image file. Equal pictures give equal bytes.

    JPEG and WebP store chroma at half size. PNG is lossless and ignores `quality`.
    """
    if image_format == "jpg":
        if picture.chroma is not None:
            return bytes(simplejpeg.encode_jpeg_yuv_planes(picture.luma, *picture.chroma, quality))
        return bytes(simplejpeg.encode_jpeg(picture.rgb, quality, "RGB", "420"))
    rgb = as_rgb(picture)
    if image_format == "png":
        _, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        return bytes(encoded)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()


def as_rgb(picture: Picture) -> RgbImage:
    """Return the picture as RGB. Chroma at half size is upsampled."""
    if picture.rgb is not None:
        return picture.rgb
    assert picture.chroma is not None
    height, width = picture.luma.shape
    u, v = (cv2.resize(plane, (2 * plane.shape[1], 2 * plane.shape[0])) for plane in picture.chroma)
    ycc = cv2.merge([picture.luma, v[:height, :width], u[:height, :width]])
    return np.asarray(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB))
