"""Tests that compare quality measures with values computed by hand and with imagehash."""

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image
from skimage import data

from data_miner_dagster.media.quality import MEASURED_LINES, is_letterboxed, measure, perceptual_hash, reduced

PHOTOS = {"astronaut": data.astronaut(), "cat": data.chelsea(), "coffee": data.coffee(), "rocket": data.rocket()}


def luma_of(name: str) -> np.ndarray:
    return np.asarray(cv2.cvtColor(PHOTOS[name], cv2.COLOR_RGB2GRAY))


def test_measure__all_black() -> None:
    quality = measure(np.zeros((64, 64), np.uint8))
    assert (quality.sharpness, quality.brightness, quality.contrast, quality.is_letterboxed) == (0.0, 0.0, 0.0, False)


def test_measure__two_halves() -> None:
    luma = np.zeros((100, 100), np.uint8)
    luma[:, 50:] = 100
    quality = measure(luma)
    assert quality.brightness == 50.0
    assert quality.contrast == 50.0
    # The Laplacian is +100 in column 49, -100 in column 50, 0 elsewhere: variance 2 * 100**2 / 100.
    assert quality.sharpness == pytest.approx(200.0)


def test_measure__blur_lowers_sharpness() -> None:
    luma = luma_of("astronaut")
    assert measure(cv2.GaussianBlur(luma, (0, 0), 6)).sharpness < measure(luma).sharpness / 20


def test_measure__same_picture_at_two_resolutions() -> None:
    luma = luma_of("astronaut")
    twice = cv2.resize(luma, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert measure(twice).brightness == pytest.approx(measure(luma).brightness, abs=0.5)
    assert measure(twice).sharpness == pytest.approx(measure(luma).sharpness, rel=0.2)


def test_reduced__short_side() -> None:
    assert reduced(np.zeros((720, 1280), np.uint8)).shape == (MEASURED_LINES, 640)
    assert reduced(np.zeros((1280, 720), np.uint8)).shape == (640, MEASURED_LINES)
    assert reduced(np.zeros((100, 1280), np.uint8)).shape == (100, 1280)


@pytest.mark.parametrize("axis", [0, 1])
def test_is_letterboxed__bars(axis: int) -> None:
    luma = luma_of("astronaut").copy()
    assert not is_letterboxed(luma)
    bars = np.moveaxis(luma, axis, 0)
    bars[:60] = 3
    assert not is_letterboxed(luma), "one bar alone is part of the picture"
    bars[-60:] = 3
    assert is_letterboxed(luma)


@pytest.mark.parametrize("name", sorted(PHOTOS))
def test_perceptual_hash__equals_imagehash(name: str) -> None:
    luma = luma_of(name)
    expected = imagehash.phash(Image.fromarray(luma))
    assert perceptual_hash(luma) == int(str(expected), 16)


@pytest.mark.parametrize("name", sorted(PHOTOS))
def test_measure__hash_of_the_reduced_picture_is_near(name: str) -> None:
    expected = int(str(imagehash.phash(Image.fromarray(PHOTOS[name]))), 16)
    assert (measure(luma_of(name)).perceptual_hash ^ expected).bit_count() <= 4
