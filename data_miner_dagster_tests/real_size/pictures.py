"""Content of the clips: scenes of many kinds, with a strip of bars on each picture that encodes its number."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Picture = npt.NDArray[np.uint8]

NUM_BITS: Final = 10
STRIP_SHARE: Final = 6
"""The strip is the lowest sixth of a picture."""
_SCENE_WH: Final = (256, 192)
_MOST_PHOTOS: Final = 12


def stamp(picture: Picture, number: int) -> Picture:
    """Return the picture with `number` stamped on its strip: ten bars, most significant bit first, white for 1."""
    height, width = picture.shape[:2]
    stamped = picture.copy()
    for bit in range(NUM_BITS):
        left, right = width * bit // NUM_BITS, width * (bit + 1) // NUM_BITS
        stamped[height - height // STRIP_SHARE :, left:right] = 230 if number >> (NUM_BITS - 1 - bit) & 1 else 25
    return stamped


def read_stamp(picture: Picture) -> int:
    """Return the number that is stamped on a picture of any size."""
    height, width = picture.shape[:2]
    strip = height // STRIP_SHARE
    rows = picture[height - strip * 3 // 4 : height - strip // 4]
    luma = rows.mean(axis=(0, 2) if picture.ndim == 3 else 0)
    number = 0
    for bit in range(NUM_BITS):
        left, right = width * bit // NUM_BITS, width * (bit + 1) // NUM_BITS
        quarter = (right - left) // 4
        number = number << 1 | int(luma[left + quarter : right - quarter].mean() > 128)
    return number


# --- scenes ---


@cache
def _photos(samples: tuple[Path, ...]) -> tuple[Image.Image, ...]:
    """Return some evenly spaced frames of each sample clip."""
    photos: list[Image.Image] = []
    for path in samples:
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        each = max(1, _MOST_PHOTOS // len(samples))
        photos += [frames[(2 * k + 1) * len(frames) // (2 * each)].to_image() for k in range(each)]
    return tuple(photos)


def _photo(seed: int, samples: tuple[Path, ...]) -> Image.Image:
    return _photos(samples)[seed % len(_photos(samples))].convert("RGB").resize(_SCENE_WH)


def _blobs(seed: int, _samples: tuple[Path, ...]) -> Image.Image:
    rng = np.random.default_rng(seed)
    scene = np.zeros((_SCENE_WH[1], _SCENE_WH[0], 3), np.float64)
    for cells, strength in ((4, 90), (12, 50), (40, 30)):
        coarse = rng.normal(128, strength, (cells, cells, 3)).clip(0, 255).astype(np.uint8)
        scene += np.asarray(Image.fromarray(coarse).resize(_SCENE_WH, Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray((scene / 3).astype(np.uint8))


def _shapes(seed: int, _samples: tuple[Path, ...]) -> Image.Image:
    rng = np.random.default_rng(seed)
    scene = Image.new("RGB", _SCENE_WH, tuple(rng.integers(40, 215, 3).tolist()))
    draw = ImageDraw.Draw(scene)
    for _ in range(9):
        x, y, side = (int(value) for value in rng.integers((0, 0, 20), (*_SCENE_WH, 90)))
        colour = tuple(rng.integers(0, 255, 3).tolist())
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x - side, y - side, x + side, y + side), fill=colour)
    return scene


def _slide(seed: int, _samples: tuple[Path, ...]) -> Image.Image:
    rng = np.random.default_rng(seed)
    scene = Image.new("RGB", _SCENE_WH, (236, 236, 228))
    draw = ImageDraw.Draw(scene)
    for line in range(9):
        words = " ".join("".join(rng.choice([*"abcdefghijklmnop"], int(rng.integers(2, 9)))) for _ in range(6))
        draw.text((12, 10 + 18 * line), words, fill=(20, 20, 40))
    return scene


def _noise(seed: int, _samples: tuple[Path, ...]) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (_SCENE_WH[1] // 3, _SCENE_WH[0] // 3, 3), np.uint8)).resize(_SCENE_WH)


def _plain(seed: int, _samples: tuple[Path, ...]) -> Image.Image:
    level = (0, 255, 90, 160)[seed % 4]
    return Image.new("RGB", _SCENE_WH, (level, level, level))


def _dark(seed: int, samples: tuple[Path, ...]) -> Image.Image:
    return Image.eval(_photo(seed, samples), lambda value: value // 8)


def _soft(seed: int, samples: tuple[Path, ...]) -> Image.Image:
    return _photo(seed, samples).filter(ImageFilter.GaussianBlur(6))


SCENES: Final[Sequence[Callable[[int, tuple[Path, ...]], Image.Image]]] = (
    _photo,
    _blobs,
    _photo,
    _shapes,
    _photo,
    _slide,
    _blobs,
    _noise,
    _photo,
    _plain,
    _dark,
    _soft,
)


def scene_pictures(seed: int, num_frames: int, size_wh: tuple[int, int], samples: tuple[Path, ...]) -> list[Picture]:
    """Return stamped pictures of scene `seed`: one view that a camera pans across, or two with a cut in between.

    The same seed shows the same at any size, so clips with one seed are near-duplicates.
    """
    kind = seed % len(SCENES)
    scenes = [SCENES[kind](seed, samples)]
    if seed % 3 == 0:
        scenes.append(SCENES[(kind + 5) % len(SCENES)](seed + 1, samples))
    speed = (0, 1, 3)[seed % 5 % 3]  # scene pixels per picture: still, slow, fast
    pictures = []
    for number in range(num_frames):
        scene = scenes[number * len(scenes) // num_frames]
        left = number * speed % (_SCENE_WH[0] // 4)
        window = scene.crop((left, 0, left + _SCENE_WH[0] * 3 // 4, _SCENE_WH[1]))
        pictures.append(stamp(np.asarray(window.resize(size_wh)), number))
    return pictures
