"""Bar-code clips with moving shapes, and a detector that knows where each shape is and misses some of them.

The number that a picture carries determines which objects are on it, and where. The truth is therefore known without
a second detector.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import record_downloaded
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage, VideoFileRecord
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.tracks import SeenObject
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.frames import read_frames
from data_miner_dagster_tests.support.barcode_clips import barcode_picture, make_clip, read_barcode
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, plant_deduplicated

FRAME_RATE: Final = 20
CLIP_WH: Final = (480, 320)
CLASSES: Final = ("red", "blue")
_COLOURS: Final = ((255, 0, 0), (0, 0, 255))


@dataclass(frozen=True)
class MovingShape:
    """A rectangle that swings around a place below the bars."""

    class_index: int
    middle_xy: tuple[float, float]
    swing_xy: tuple[float, float]
    period_seconds: float
    size_wh: tuple[int, int]
    colour: tuple[int, int, int] | None = None  # None for the colour of its class

    def box_at(self, number: int) -> npt.NDArray[np.float64]:
        """Return the shape's box on picture `number`."""
        turn = 2 * np.pi * number / FRAME_RATE / self.period_seconds
        left = self.middle_xy[0] + self.swing_xy[0] * np.sin(turn) - self.size_wh[0] / 2
        top = self.middle_xy[1] + self.swing_xy[1] * np.cos(2 * turn) - self.size_wh[1] / 2
        return np.rint([left, top, left + self.size_wh[0], top + self.size_wh[1]])


SHAPES: Final = (
    MovingShape(0, (100, 210), (60, 20), 16, (60, 50)),
    MovingShape(0, (340, 260), (80, 12), 22, (70, 44)),
    MovingShape(1, (240, 230), (150, 16), 26, (50, 50)),
    MovingShape(1, (400, 200), (50, 12), 18, (64, 40)),
)

CROSSING: Final = (
    MovingShape(0, (140, 216), (105, 12), 10, (60, 50), (205, 52, 48)),
    MovingShape(0, (345, 240), (-105, 10), 10.7, (52, 56), (44, 96, 190)),
    MovingShape(0, (240, 284), (200, 8), 21, (64, 40), (58, 150, 70)),
    MovingShape(1, (420, 190), (40, 10), 20, (50, 40), (226, 184, 44)),
)
"""Three shapes of one class that hide each other, two of which turn back where they meet, and one of another class."""


def shapes_picture(number: int, shapes: Sequence[MovingShape] = SHAPES) -> npt.NDArray[np.uint8]:
    """Return picture `number`, with its bar code above and its shapes below. Later shapes are in front."""
    picture = barcode_picture(number, *CLIP_WH)
    picture[CLIP_WH[1] // 2 :] = 128
    for shape in shapes:
        left, top, right, bottom = shape.box_at(number).astype(int)
        picture[top:bottom, left:right] = shape.colour or _COLOURS[shape.class_index]
    return picture


class _Pictures(Sequence[Any]):
    """Pictures that are drawn on demand, because those of long clips would not fit in memory."""

    def __init__(self, num_frames: int, shapes: Sequence[MovingShape]) -> None:
        self._num_frames = num_frames
        self._shapes = shapes

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, number: Any) -> Any:
        return shapes_picture(number, self._shapes)


def make_shapes_clip(path: Path, seconds: float, shapes: Sequence[MovingShape] = SHAPES) -> Path:
    """Write a clip of moving shapes."""
    num_frames = round(seconds * FRAME_RATE)
    return make_clip(
        path,
        num_frames=num_frames,
        frame_rate=Fraction(FRAME_RATE),
        size=CLIP_WH,
        gop=FRAME_RATE,
        pictures=_Pictures(num_frames, shapes),
        options={"crf": "12"},
    )


@dataclass
class CarelessDetector:
    """An ObjectDetector that knows all shapes, but misses some of them and adds boxes where nothing is.

    Its detections on a picture depend only on the picture's number and on the detector's own settings.
    """

    misses: float = 0.3
    phantoms: float = 0.1
    seed: int = 0
    name: str = "careless"
    fingerprint: str = "1"
    num_seen: int = 0
    dies_at: int | None = None
    numbers: list[int] = field(default_factory=list)
    shapes: Sequence[MovingShape] = SHAPES

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections on each picture, whose number is read from its bar code."""
        assert confidence_floor < 0.6
        answers = []
        for image in images:
            if self.dies_at == self.num_seen:
                raise SystemExit("the machine lost power")
            self.num_seen += 1
            number = read_barcode(image)
            self.numbers.append(number)
            said = sorted(self.says(number), key=lambda entry: -entry[2])
            answers.append(
                ImageDetections(
                    np.array([box for _, box, _ in said], np.float32).reshape(-1, 4),
                    np.array([confidence for _, _, confidence in said], np.float32),
                    np.array([class_index for class_index, _, _ in said], np.int32),
                    tuple(classes[class_index].prompts[0] for class_index, _, _ in said),
                    (None,) * len(said),
                )
            )
        return answers

    def says(self, number: int) -> Iterator[tuple[int, npt.NDArray[np.float64], float]]:
        """Yield the class, box and confidence of each detection on picture `number`."""
        for position, shape in enumerate(self.shapes):
            if not self.misses_at(number, position):
                yield shape.class_index, shape.box_at(number), 0.6 + 0.3 * self._draw(number, position, "sure")
        yield from self.phantoms_at(number)

    def misses_at(self, number: int, position: int) -> bool:
        """Return whether the detector misses a shape on picture `number`."""
        return self._draw(number, position, "miss") < self.misses

    def phantoms_at(self, number: int) -> Iterator[tuple[int, npt.NDArray[np.float64], float]]:
        """Yield boxes where nothing is. On average, their number is the share `phantoms` of the number of shapes."""
        for position in range(len(self.shapes)):
            if self._draw(number, position, "phantom") < self.phantoms:
                draw = Random(f"{self.seed} {number} {position} place")
                width, height = draw.uniform(30, 80), draw.uniform(30, 60)
                left, top = draw.uniform(0, CLIP_WH[0] - width), draw.uniform(160, CLIP_WH[1] - height)
                box = np.array([left, top, left + width, top + height])
                yield draw.randrange(len(CLASSES)), box, draw.uniform(0.6, 0.9)

    def _draw(self, number: int, position: int, what: str) -> float:
        return Random(f"{self.seed} {number} {position} {what}").random()


@dataclass
class AttentiveTracker:
    """A VideoTracker that sees every shape on every picture, with its mask, and recognizes it on later pictures."""

    name: str = "attentive"
    fingerprint: str = "1"
    numbers: list[int] = field(default_factory=list)

    def start(self, classes: Sequence[ClassPrompts]) -> "AttentiveSession":
        """Return a session that numbers its objects independently of other sessions."""
        return AttentiveSession(classes, self.numbers)


@dataclass
class AttentiveSession:
    """A VideoSession that reads what is on a picture from its bar code."""

    classes: Sequence[ClassPrompts]
    numbers: list[int]  # of all examined pictures
    first: int | None = None

    def look_at(self, image: RgbImage) -> list[SeenObject]:
        """Return the shapes on a picture, whose number is read from its bar code."""
        number = read_barcode(image)
        self.numbers.append(number)
        self.first = number if self.first is None else self.first
        height, width = image.shape[:2]
        objects = []
        for position, shape in enumerate(SHAPES):
            left, top, right, bottom = shape.box_at(number).astype(int).tolist()
            pixels = np.zeros((height, width), np.bool_)
            pixels[top:bottom, left:right] = True
            prompt = self.classes[shape.class_index].prompts[0]
            own = (position + self.first) % len(SHAPES)
            objects.append(SeenObject(own, shape.class_index, prompt, 0.7, (left, top, right, bottom), Mask.of(pixels)))
        return sorted(objects, key=lambda each: each.number)


def add_clip(platform: Platform, key: str, clip: Path) -> None:
    """Put a clip where a download would, extract its frames, and make all of them representatives."""
    add_video(platform.database, key, PROJECT)
    path = platform.layout.video_folder(key) / "video.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(clip.read_bytes())
    with platform.database.transaction() as session:
        move_video(session, key, VideoStatus.DOWNLOADING)
        size = path.stat().st_size
        record_downloaded(session, key, VideoFileRecord("video.mp4", size, sha256_of_file(path), 2.0, *CLIP_WH))
    extract_frames(platform, [key])
    indices = read_frames(platform.layout, key, ["frame_index"])["frame_index"].to_pylist()
    plant_deduplicated(platform, {key: indices}, duplicates={})
