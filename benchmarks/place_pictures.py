"""Generate a truth set of fixed cameras: one place, objects that come and go, changing light, real codecs.

A place is a real photograph or shot. Its arrangements are sets of cut-outs from other photographs, placed on it; any
two of them differ visibly by at least one object of `SMALLEST_SIDE` of the picture's longer side. Each is shown several
times, not in a row, while the light drifts (brightness, colour, a cloud) and, in half of the places, a clock runs in a
corner. The whole is encoded as one H.264 clip with sensor noise, decoded, and stored as JPEG like a frame.

Clips of moving cameras are made from the same photographs: handheld, panned and zoomed, with nothing else changing.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import skimage
from PIL import Image, ImageDraw

from benchmarks.truth_pictures import SHOT_STARTS, decode
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.media.images import decode_image
from data_miner_dagster.models.packages import fetch_samples

SMALLEST_SIDE: Final = 0.05
"""The smaller side of the smallest object, as a share of the picture's longer side."""
LARGEST_SIDE: Final = 0.3
VISIBLE_LEVELS: Final = 24
"""The smallest difference in any colour channel, out of 255, that counts as another object."""
VISIBLE_SHARE: Final = 0.6
"""The share of pixels in a box of side `SMALLEST_SIDE` that must differ by at least `VISIBLE_LEVELS`."""
JPEG_QUALITY: Final = 92
LONGER_SIDE: Final = 640
_STILLS: Final = (
    *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "motorcycle_left.png", "rocket.jpg"),
    *("brick.png", "grass.png", "gravel.png", "retina.jpg", "page.png"),
)
_OBJECT_STILLS: Final = ("astronaut.png", "chelsea.png", "coffee.png", "coins.png", "motorcycle_left.png", "rocket.jpg")

Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Shown:
    """One stored frame of a fixed camera. `arrangement` identifies the objects and their places."""

    image: RgbImage
    place: str
    arrangement: int


@cache
def photographs() -> dict[str, RgbImage]:
    """Return real pictures by name, each with a longer side of `LONGER_SIDE` pixels."""
    import sklearn.datasets

    folder = Path(skimage.__file__).parent / "data"
    images = {name: np.asarray(Image.open(folder / name).convert("RGB")) for name in _STILLS}
    images |= {name: sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")}
    clips = fetch_samples()
    for clip, starts in SHOT_STARTS.items():
        frames = decode(clips[clip])
        for shot, start in enumerate(starts):
            images[f"{clip} shot {shot}"] = next(image for seconds, image in frames if seconds >= start + 0.2)
    return {name: _fitted(image) for name, image in images.items()}


def _fitted(image: RgbImage) -> RgbImage:
    scale = LONGER_SIDE / max(image.shape[:2])
    width, height = (round(side * scale / 2) * 2 for side in image.shape[1::-1])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=way), np.uint8)


def fixed_camera(seed: int, *, num_arrangements: int = 6, num_visits: int = 2, frames_a_visit: int = 2) -> list[Shown]:
    """Return the stored frames of one fixed camera, in order of time."""
    rng = np.random.default_rng(seed)
    names = sorted(photographs())
    name = names[int(rng.integers(len(names)))]
    background = _cropped(photographs()[name], rng)
    pictures = _arrangements(background, name, num_arrangements, rng)
    order = [number for _ in range(num_visits) for number in rng.permutation(num_arrangements).tolist()]
    shown = [number for number in order for _ in range(frames_a_visit)]
    frames = _drifting([pictures[number] for number in shown], rng)
    crf = int(rng.choice([23, 28, 33]))
    place = f"{name} {seed}"
    return [Shown(stored(image), place, number) for image, number in zip(encoded(frames, crf), shown, strict=True)]


def _cropped(image: RgbImage, rng: Random) -> RgbImage:
    height, width = image.shape[:2]
    share = rng.uniform(0.6, 1)
    crop_width, crop_height = round(width * share), round(height * share)
    left, top = int(rng.integers(width - crop_width + 1)), int(rng.integers(height - crop_height + 1))
    crop = image[top : top + crop_height, left : left + crop_width]
    return _fitted(crop[:, ::-1] if rng.random() < 0.5 else crop)


# --- arrangements ---


@dataclass(frozen=True, slots=True)
class _Placed:
    image: RgbImage
    mask: np.ndarray
    left: int
    top: int


def _arrangements(background: RgbImage, name: str, num: int, rng: Random) -> list[RgbImage]:
    """Return `num` pictures, any two of which differ visibly. In half of the cases, the first is the empty place."""
    placed: list[_Placed] = []
    pictures: list[RgbImage] = []
    if rng.random() < 0.5:
        pictures.append(background)
    while len(pictures) < num:
        fewer = [each for each in placed if rng.random() < 0.7]
        wanted = [*fewer, _cut_out(background, name, rng)] if len(fewer) < 5 else fewer
        picture = background
        for each in wanted:
            picture = _with_object(picture, each)
        if all(differ_visibly(picture, other) for other in pictures):
            pictures.append(picture)
            placed = wanted
    return pictures


def differ_visibly(one: RgbImage, other: RgbImage) -> bool:
    """Return whether most pixels of some box of side `SMALLEST_SIDE` have a visibly different colour."""
    is_other = np.abs(one.astype(np.int16) - other).max(axis=2) >= VISIBLE_LEVELS
    side = round(SMALLEST_SIDE * LONGER_SIDE)
    share = cv2.boxFilter(is_other.astype(np.float32), -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    return bool(share.max() >= VISIBLE_SHARE)


def _cut_out(background: RgbImage, name: str, rng: Random) -> _Placed:
    height, width = background.shape[:2]
    sources = [each for each in _OBJECT_STILLS if each != name]
    source = photographs()[sources[int(rng.integers(len(sources)))]]
    smaller = LONGER_SIDE * np.exp(rng.uniform(np.log(SMALLEST_SIDE), np.log(LARGEST_SIDE)))
    aspect = float(np.exp(rng.uniform(0, np.log(2.5))))
    sides = [smaller, smaller * aspect]
    if rng.random() < 0.5:
        sides.reverse()
    w, h = (max(4, min(round(sides[0]), width - 2)), max(4, min(round(sides[1]), height - 2)))
    zoom = rng.uniform(1.0, 2.0)
    cut_w, cut_h = min(round(w * zoom), source.shape[1]), min(round(h * zoom), source.shape[0])
    left, top = int(rng.integers(source.shape[1] - cut_w + 1)), int(rng.integers(source.shape[0] - cut_h + 1))
    cut = cv2.resize(source[top : top + cut_h, left : left + cut_w], (w, h), interpolation=cv2.INTER_AREA)
    return _Placed(
        np.asarray(cut, np.uint8),
        _shape(w, h, int(rng.integers(3))),
        int(rng.integers(width - w + 1)),
        int(rng.integers(height - h + 1)),
    )


def _shape(width: int, height: int, kind: int) -> np.ndarray:
    """Return a soft mask: an ellipse, a box with round corners, or a car seen from the side."""
    mask = np.zeros((height, width), np.uint8)
    picture = Image.fromarray(mask)
    draw = ImageDraw.Draw(picture)
    if kind == 0:
        draw.ellipse((0, 0, width - 1, height - 1), fill=255)
    elif kind == 1:
        draw.rounded_rectangle((0, 0, width - 1, height - 1), radius=min(width, height) // 5, fill=255)
    else:
        draw.rectangle((0, height * 0.4, width - 1, height - 1), fill=255)
        draw.polygon(
            [(width * 0.15, height * 0.45), (width * 0.3, 0), (width * 0.75, 0), (width * 0.9, height * 0.45)], fill=255
        )
    return np.asarray(cv2.GaussianBlur(np.asarray(picture, np.float32) / 255, (3, 3), 0))


def _with_object(picture: RgbImage, placed: _Placed) -> RgbImage:
    result = picture.copy()
    height, width = placed.mask.shape
    window = result[placed.top : placed.top + height, placed.left : placed.left + width]
    mask = placed.mask[..., None]
    window[:] = np.asarray(np.round(window * (1 - mask) + placed.image * mask), np.uint8)
    return result


# --- light, noise, codecs ---


def _drifting(pictures: Sequence[RgbImage], rng: Random) -> list[RgbImage]:
    """Return the pictures in drifting light, with noise and, in half of the cases, a running clock."""
    height, width = pictures[0].shape[:2]
    num = len(pictures)
    gain = 1 + 0.22 * np.sin(np.linspace(0, rng.uniform(2, 9), num) + rng.uniform(0, 6))
    offset = rng.uniform(-8, 8, num)
    colour = 1 + np.cumsum(rng.normal(0, 0.012, (num, 3)), axis=0).clip(-0.05, 0.05)
    noise = rng.uniform(1.5, 4)
    has_clock = rng.random() < 0.5
    start = datetime(2026, 6, 1, 8, 59, 30, tzinfo=UTC)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    drifted = []
    for number, picture in enumerate(pictures):
        centre = rng.uniform(-0.2, 1.2, 2) * (height, width)
        distance = ((ys - centre[0]) ** 2 + (xs - centre[1]) ** 2) / (rng.uniform(0.3, 0.8) * width) ** 2
        cloud = 1 - rng.uniform(0, 0.18) * np.exp(-distance)
        image = picture * (gain[number] * cloud[..., None] * colour[number]) + offset[number]
        image = image + rng.normal(0, noise, image.shape)
        frame = np.asarray(np.clip(image, 0, 255), np.uint8)
        drifted.append(_with_clock(frame, start + timedelta(seconds=7 * number)) if has_clock else frame)
    return drifted


def _with_clock(image: RgbImage, time: datetime) -> RgbImage:
    picture = Image.fromarray(image)
    size = max(9, round(image.shape[0] * 0.035))
    text = time.strftime("%Y-%m-%d %H:%M:%S")
    ImageDraw.Draw(picture).text((4, 3), text, fill=(255, 255, 255), font_size=size)
    return np.asarray(picture)


def encoded(frames: Sequence[RgbImage], crf: int) -> list[RgbImage]:
    """Return the frames after encoding as H.264 at this `crf` and decoding."""
    content = io.BytesIO()
    height, width = frames[0].shape[:2]
    with av.open(content, "w", format="mp4") as container:
        options = {"crf": str(crf), "preset": "veryfast", "g": "12"}
        stream = container.add_stream("libx264", rate=Fraction(5), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    content.seek(0)
    with av.open(content) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def stored(image: RgbImage) -> RgbImage:
    """Return a frame as it is read back from its stored JPEG."""
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return decode_image(content.tobytes(), Path("frame.jpg"))


# --- moving cameras ---


def moving_cameras(seed: int, num_frames: int = 24) -> Iterator[tuple[str, list[RgbImage]]]:
    """Yield named clips: handheld, a slow pan and a zoom over still photographs, and the real clips."""
    rng = np.random.default_rng(seed)
    for name in ("china.jpg", "motorcycle_left.png", "astronaut.png", "bikes.mp4 shot 1"):
        image = photographs()[name]
        steps = np.linspace(0, 1, num_frames)
        by_hand = 0.5 + np.cumsum(rng.normal(0, 0.1, (num_frames, 2)), axis=0)
        by_hand = np.abs((by_hand + 1) % 2 - 1)
        windows = {
            "by hand": [(0.88, float(x), float(y)) for x, y in by_hand],
            "pan": [(0.6, float(step), 0.5) for step in steps],
            "zoom": [(1 - 0.4 * float(step), 0.5, 0.5) for step in steps],
        }
        for kind, positions in windows.items():
            frames = [_window(image, *position) for position in positions]
            noisy = [np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8) for frame in frames]
            yield f"{kind}, {name}", [stored(frame) for frame in encoded(noisy, 26)]
    clips = fetch_samples()
    for clip in ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"):
        frames = [image for _, image in decode(clips[clip])][::5]
        yield f"real, {clip}", [stored(_fitted(frame)) for frame in frames]


def _window(image: RgbImage, share: float, x: float, y: float) -> RgbImage:
    height, width = image.shape[:2]
    w, h = width * share, height * share
    left, top = (width - w) * x, (height - h) * y
    matrix = np.array([[share, 0, left], [0, share, top]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT), np.uint8
    )
