"""Create a truth set: real pictures, altered versions that show the same, and different pictures that look alike.

The pictures come from the sample clips (the middle frame of each shot) and the photographs in scikit-image and
scikit-learn. Each is re-encoded (clips by H.264 at a low rate, stills as poor JPEG), scaled, cropped, flipped,
darkened, letterboxed, given a logo, and, for clips, taken at other moments. Hard negatives are the other shots of the
same street, three textures, pages of text, slides of one template, title cards, and a pan over a photograph whose ends
have nothing in common.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import skimage
from PIL import Image, ImageDraw

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.packages import fetch_samples

STILLS: Final = (
    *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "hubble_deep_field.jpg", "ihc.png"),
    *("moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png", "horse.png"),
    *("brick.png", "grass.png", "gravel.png"),
)
SHOT_STARTS: Final = {"bikes.mp4": (0.0, 1.2, 3.04, 5.48, 7.48, 9.68), "bigbuckbunny.mp4": (0.0,)}
"""The seconds at which the shots of the clips begin, found by hand."""
RETIMED_BY_SECONDS: Final = 0.24
PAN_FRAMES: Final = 19
SAME_OVERLAP: Final = 0.7
DIFFERENT_OVERLAP: Final = 0.4
LONGEST_SIDE: Final = 640


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the truth set. `scene` tells what it shows; within a pan, `window` tells which part."""

    image: RgbImage
    scene: str
    change: str  # "original", a name of `CHANGES`, "reencoded", "retimed", or "pan"
    window: tuple[float, float] | None = None  # left and right, in widths of the photograph


def are_same(one: Picture, other: Picture) -> bool | None:
    """Return whether two pictures show the same thing, or None if people would not agree."""
    if one.scene != other.scene:
        return False
    if one.window is None or other.window is None:
        return True
    shared = min(one.window[1], other.window[1]) - max(one.window[0], other.window[0])
    overlap = shared / (max(one.window[1], other.window[1]) - min(one.window[0], other.window[0]))
    if overlap >= SAME_OVERLAP:
        return True
    return False if overlap <= DIFFERENT_OVERLAP else None


# --- changes ---


def scaled(image: RgbImage) -> RgbImage:
    """Return the picture at a third of its size."""
    height, width = image.shape[:2]
    return _resized(image, (width // 3, height // 3))


def cropped(image: RgbImage) -> RgbImage:
    """Return the middle of the picture: 85 % of each side, 72 % of the area."""
    height, width = image.shape[:2]
    top, left = round(height * 0.075), round(width * 0.075)
    return np.ascontiguousarray(image[top : height - top, left : width - left])


def flipped(image: RgbImage) -> RgbImage:
    """Return the picture mirrored from left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def darkened(image: RgbImage) -> RgbImage:
    """Return the picture a quarter darker, with a quarter less contrast."""
    return np.asarray(np.clip(image.astype(np.float32) * 0.56 + 24, 0, 255), np.uint8)


def letterboxed(image: RgbImage) -> RgbImage:
    """Return the picture with black bars above and below, each a tenth of the height."""
    bar = image.shape[0] // 10
    return np.asarray(cv2.copyMakeBorder(image, bar, bar, 0, 0, cv2.BORDER_CONSTANT), np.uint8)


def with_logo(image: RgbImage) -> RgbImage:
    """Return the picture with a channel's badge in a corner and a line of text along the bottom."""
    picture = Image.fromarray(image)
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    draw.ellipse((width * 0.82, height * 0.04, width * 0.97, height * 0.04 + width * 0.15), fill=(220, 20, 60))
    draw.text((width * 0.84, height * 0.08), "LIVE", fill=(255, 255, 255), font_size=max(10, width // 18))
    draw.rectangle((0, height * 0.9, width, height), fill=(20, 30, 90))
    draw.text(
        (width * 0.03, height * 0.91), "breaking: same picture", fill=(255, 255, 255), font_size=max(8, width // 24)
    )
    return np.asarray(picture)


def poor_jpeg(image: RgbImage) -> RgbImage:
    """Return the picture after JPEG compression at quality 15."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=15)
    return np.asarray(Image.open(content).convert("RGB"))


CHANGES: Final[dict[str, Callable[[RgbImage], RgbImage]]] = {
    "scaled": scaled,
    "cropped": cropped,
    "flipped": flipped,
    "darkened": darkened,
    "letterboxed": letterboxed,
    "with logo": with_logo,
}


def _resized(image: RgbImage, size: tuple[int, int]) -> RgbImage:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


# --- where the pictures come from ---


def decode(path: Path) -> list[tuple[float, RgbImage]]:
    """Return (seconds, image) of every frame of a clip."""
    with av.open(str(path)) as container:
        return [(float(frame.time or 0), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def reencode(frames: Sequence[tuple[float, RgbImage]]) -> list[tuple[float, RgbImage]]:
    """Return the frames after H.264 encoding at a visibly low rate (crf 38) and decoding."""
    content = io.BytesIO()
    height, width = (side // 2 * 2 for side in frames[0][1].shape[:2])
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "38", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _, image in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    content.seek(0)
    with av.open(content) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [(seconds, image) for (seconds, _), image in zip(frames, decoded, strict=True)]


def clip_pictures(path: Path) -> Iterator[Picture]:
    """Yield the middle frame of each shot, the same frame re-encoded, and a frame from a moment later.

    There is only one frame per shot. Since the camera follows its subject, it would be a matter of taste which frames
    of a shot are "the same".
    """
    frames = decode(path)
    poor = reencode(frames)
    seconds = np.array([time for time, _ in frames])
    starts = SHOT_STARTS[path.name]
    for shot, (start, stop) in enumerate(zip(starts, (*starts[1:], float(seconds[-1])), strict=True)):
        middle = (start + stop) / 2
        at = int(np.abs(seconds - middle).argmin())
        later = int(np.abs(seconds - middle - RETIMED_BY_SECONDS).argmin())
        scene = f"{path.stem} shot {shot}"
        yield Picture(frames[at][1], scene, "original")
        yield Picture(poor[at][1], scene, "reencoded")
        yield Picture(frames[later][1], scene, "retimed")


def photographs(num: int) -> Iterator[Picture]:
    """Yield the photographs and their poor JPEGs."""
    import sklearn.datasets

    folder = Path(skimage.__file__).parent / "data"
    images = {name: np.asarray(Image.open(folder / name).convert("RGB")) for name in STILLS[:num]}
    images |= {name: sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")}
    for name, image in images.items():
        longest = max(image.shape[:2])
        size = tuple(round(side * min(1, LONGEST_SIDE / longest)) for side in image.shape[1::-1])
        small = _resized(image, (size[0], size[1]))
        yield Picture(small, name, "original")
        yield Picture(poor_jpeg(small), name, "reencoded")


def slides() -> Iterator[Picture]:
    """Yield slides of one template with different texts."""
    for number, (title, lines) in enumerate(
        {
            "Results": ["Revenue up 4 %", "Costs down 2 %", "Outlook stable"],
            "Team": ["Ada: engines", "Grace: compilers", "Alan: machines"],
            "Plan": ["First: measure", "Then: change", "Last: measure again"],
            "Questions": ["Why now?", "Who pays?", "What if it fails?"],
        }.items()
    ):
        picture = Image.new("RGB", (640, 360), (245, 245, 240))
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, 0, 640, 60), fill=(30, 60, 120))
        draw.text((20, 12), title, fill=(255, 255, 255), font_size=32)
        for row, line in enumerate(lines):
            draw.text((50, 110 + 70 * row), line, fill=(20, 20, 20), font_size=30)
        yield Picture(np.asarray(picture), f"slide {number}", "original")


def title_cards() -> Iterator[Picture]:
    """Yield title cards with different white words on black, which have little contrast and one layout."""
    for text in (
        "The end",
        "Chapter one",
        "Directed by",
        "Thank you",
        "Intermission",
        "Paris, 1924",
        "Three years later",
    ):
        picture = Image.new("RGB", (640, 360))
        draw = ImageDraw.Draw(picture)
        left = 320 - draw.textlength(text, font_size=36) / 2
        draw.text((left, 155), text, fill=(255, 255, 255), font_size=36)
        yield Picture(np.asarray(picture), f"card {text}", "original")


def pan() -> Iterator[Picture]:
    """Yield a window that moves over a wide photograph, joined from two that have nothing in common."""
    import sklearn.datasets

    left, right = (sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg"))
    # Mirrored halves, so that no frame of the pan is a copy of the photographs themselves.
    wide = np.concatenate([flipped(left)[:, :320], left[:, 320:], right[:, :320], flipped(right)[:, 320:]], axis=1)
    width = wide.shape[1]
    for step in range(PAN_FRAMES):
        start = round(step * (width - 426) / (PAN_FRAMES - 1))
        window = (start / width, (start + 426) / width)
        yield Picture(np.ascontiguousarray(wide[:, start : start + 426]), "pan", "pan", window)


def truth_set(*, quick: bool) -> list[Picture]:
    """Return all pictures in order of quality: originals come first."""
    clips = fetch_samples()
    names = ["bikes.mp4"] if quick else sorted(SHOT_STARTS)
    pictures = [picture for name in names for picture in clip_pictures(clips[name])]
    pictures += photographs(6 if quick else len(STILLS))
    originals = [picture for picture in pictures if picture.change == "original"]
    changed = [
        Picture(change(picture.image), picture.scene, name) for name, change in CHANGES.items() for picture in originals
    ]
    others = [picture for picture in pictures if picture.change != "original"]
    return [*originals, *slides(), *title_cards(), *others, *changed, *pan()]
