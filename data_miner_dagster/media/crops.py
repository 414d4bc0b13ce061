"""Crop pictures to the part and size that a model receives."""

import cv2
import numpy as np
import simplejpeg

from data_miner_dagster.domain.records import RgbImage

_QUALITY = 92


def crop_of(image: RgbImage, window: tuple[int, int, int, int], size_wh: tuple[int, int]) -> RgbImage:
    """Return the part of a picture in `window` (left, top, right, bottom; half-open), scaled to `size_wh` pixels."""
    left, top, right, bottom = window
    part = image[top:bottom, left:right]
    if (right - left, bottom - top) == size_wh:
        return np.ascontiguousarray(part)
    is_smaller = size_wh[0] * size_wh[1] < part.shape[0] * part.shape[1]
    scaled = cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC)
    return np.asarray(scaled, np.uint8)


def jpeg_of_crop(crop: RgbImage) -> bytes:
    """Return a crop as a JPEG."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(crop), _QUALITY, "RGB", "444"))
