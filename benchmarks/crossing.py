"""Compare trackers on objects of one class that cross, by recovered boxes, removed phantoms and id changes.

    python -m benchmarks.crossing            # 20 draws of 30 s, at .25 s and at .1 s
    python -m benchmarks.crossing --quick    # 2 draws
    python -m benchmarks.crossing --first 100    # draws on which no threshold was chosen
    python -m benchmarks.crossing --json

Four shapes of one class move in straight lines over a textured background, and bounce off the edges. 30 % of their
boxes are missed, a tenth as many phantoms are added, each on a single picture, and corners are off by half a pixel. Id
changes are counted on all pictures, and on one picture per second, the rate of released frames.

The platform's own `follow` processes the boxes with the platform's tracker, which also compares the colours in the
boxes, and then with each tracker of the library `trackers`, on boxes alone. To measure colours, pictures are drawn and
encoded as JPEG, with shapes in four colours, in four shades of one colour, and in a single colour. The last figure is
the processor time for measuring the colours of one box.
"""

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.tracking import TrackingConfig
from data_miner_dagster.domain.colours import Colours
from data_miner_dagster.domain.records import ImageDetections, RgbImage
from data_miner_dagster.media.box_colours import box_colours
from data_miner_dagster.models.trackers.byte_track import ByteTracker
from data_miner_dagster.protocols.trackers import ObjectTracker
from data_miner_dagster.stages.detection.boxes import FrameDetections, iou_matrix
from data_miner_dagster.stages.detection.following import LOST_WINDOWS, ObservedFrame, follow

NUM_DRAWS: Final = 20
INTERVALS: Final = (0.25, 0.1)
_WIDTH, _HEIGHT = 480, 320
_NUM_SHAPES: Final = 4
_SECONDS: Final = 30
_RATE: Final = 20
_WINDOW_SECONDS: Final = 1.0
_RELEASE_THRESHOLD: Final = 0.3
_START_CONFIDENCE: Final = 0.2
_MIN_IOU: Final = 0.7

PALETTES: Final = {
    "four colours": ((205, 52, 48), (44, 96, 190), (58, 150, 70), (226, 184, 44)),
    "four shades": ((150, 60, 60), (205, 70, 60), (150, 60, 130), (160, 110, 60)),
    "one colour": ((150, 60, 60),) * 4,
}
"""The colours of the four shapes (RGB), by the name of the palette."""

Boxes: TypeAlias = npt.NDArray[np.float64]
MakeTracker: TypeAlias = Callable[[float], Any]
"""A function that takes the seconds between pictures and returns a tracker of the library."""


class _LibraryTracker(ByteTracker):
    """A tracker of the library `trackers`, used in place of the platform's ByteTrack."""

    def __init__(self, tracker: Any) -> None:
        super().__init__(lost_seconds=1, every_seconds=1, start_confidence=_START_CONFIDENCE)
        self._tracker = tracker  # it gets no colours, since only the platform's own tracker uses them


def _trackers() -> dict[str, MakeTracker]:
    import trackers

    common = {
        "lost_track_buffer": round(LOST_WINDOWS * _WINDOW_SECONDS * 30),
        "minimum_consecutive_frames": 1,
    }
    starts = {"track_activation_threshold": _START_CONFIDENCE}
    confident = {"high_conf_det_threshold": _START_CONFIDENCE}
    overlap = {"minimum_iou_threshold": 0.1}
    overlaps = {f"minimum_iou_threshold_{at}": 0.1 for at in ("first_assoc", "second_assoc", "unconfirmed_assoc")}

    def of(name: str, **settings: Any) -> MakeTracker:
        return lambda every: getattr(trackers, name)(**{**common, **settings, "frame_rate": 1 / every})

    byte_track = {**starts, **confident, **overlap}
    return {
        "ByteTrack": of("ByteTrackTracker", **byte_track),
        "ByteTrack, minimum IoU .3": of("ByteTrackTracker", **{**byte_track, "minimum_iou_threshold": 0.3}),
        "ByteTrack, lost after 1 s": of("ByteTrackTracker", **{**byte_track, "lost_track_buffer": 30}),
        "ByteTrack, generalized IoU": of(
            "ByteTrackTracker", **{**byte_track, "minimum_iou_threshold": 0.2, "iou": trackers.GIoU()}
        ),
        "ByteTrack, distance IoU": of(
            "ByteTrackTracker", **{**byte_track, "minimum_iou_threshold": 0.2, "iou": trackers.DIoU()}
        ),
        "SORT": of("SORTTracker", **starts, **overlap),
        "OC-SORT": of("OCSORTTracker", direction_consistency_weight=0.2, **confident, **overlap),
        "BoT-SORT, without camera motion": of("BoTSORTTracker", enable_cmc=False, **starts, **confident, **overlaps),
        "C-BIoU": of("CBIoUTracker", **starts, **confident, **overlaps),
    }


def draw_paths(seed: int) -> Boxes:
    """Return the boxes (frames, shapes, 4) of shapes that move straight, bounce off the edges, and cross."""
    random = Random(f"cross {seed}")
    sizes, places, speeds = [], [], []
    for _ in range(_NUM_SHAPES):
        width, height = random.uniform(40, 70), random.uniform(36, 56)
        sizes.append((width, height))
        places.append([random.uniform(0, _WIDTH - width), random.uniform(0, _HEIGHT - height)])
        speed, angle = random.uniform(20, 60), random.uniform(0, 2 * math.pi)
        speeds.append([speed * math.cos(angle), speed * math.sin(angle)])
    frames = []
    for _ in range(_SECONDS * _RATE):
        frames.append([[x, y, x + w, y + h] for (x, y), (w, h) in zip(places, sizes, strict=True)])
        for place, speed_xy, (width, height) in zip(places, speeds, sizes, strict=True):
            for axis, end in ((0, _WIDTH - width), (1, _HEIGHT - height)):
                place[axis] += speed_xy[axis] / _RATE
                if not 0 <= place[axis] <= end:
                    place[axis] = -place[axis] if place[axis] < 0 else 2 * end - place[axis]
                    speed_xy[axis] = -speed_xy[axis]
    return np.array(frames)


@dataclass(slots=True)
class _Seen:
    """The boxes that an unreliable detector reports in one draw, those that it misses, and those that it invents."""

    frames: list[ObservedFrame[int]] = field(default_factory=list)
    missed: dict[int, list[int]] = field(default_factory=dict)  # shapes by frame
    phantoms: dict[int, list[Boxes]] = field(default_factory=dict)  # boxes by frame


def _detect(truth: Boxes, seed: int, every_seconds: float) -> _Seen:
    random, seen = Random(f"det {seed}"), _Seen()
    for frame in range(0, len(truth), round(every_seconds * _RATE)):
        found: list[tuple[Boxes, float]] = []
        for shape in range(truth.shape[1]):
            if random.random() < 0.3:
                seen.missed.setdefault(frame, []).append(shape)
            else:
                off = [random.gauss(0, 0.5) for _ in range(4)]
                found.append((truth[frame, shape] + np.array(off), 0.6 + 0.3 * random.random()))
            if random.random() < 0.1:
                width, height = random.uniform(30, 80), random.uniform(30, 60)
                x, y = random.uniform(0, _WIDTH - width), random.uniform(0, _HEIGHT - height)
                phantom = np.array([x, y, x + width, y + height])
                seen.phantoms.setdefault(frame, []).append(phantom)
                found.append((phantom, random.uniform(0.6, 0.9)))
        found.sort(key=lambda each: -each[1])
        detections = ImageDetections(
            np.array([box for box, _ in found], np.float32).reshape(-1, 4),
            np.array([confidence for _, confidence in found], np.float32),
            np.zeros(len(found), np.int32),
            ("shape",) * len(found),
            (None,) * len(found),
        )
        boxes = FrameDetections(detections, np.ones(len(found), np.int32))
        seen.frames.append(ObservedFrame(frame, frame / _RATE, (_WIDTH, _HEIGHT), boxes))
    return seen


@dataclass(slots=True)
class Outcome:
    """The counts of one tracker over all draws."""

    num_missed: int = 0
    num_returned: int = 0
    num_phantoms: int = 0
    num_gone: int = 0
    num_switches: int = 0
    num_draws_with_switches: int = 0
    num_switches_each_second: int = 0
    num_frames: int = 0
    cpu_seconds: float = 0

    def as_row(self) -> dict[str, float]:
        """Return the figures of a row of the table."""
        return {
            "returned": round(self.num_returned / max(self.num_missed, 1), 3),
            "phantoms_gone": round(self.num_gone / max(self.num_phantoms, 1), 3),
            "switches": self.num_switches,
            "draws_with_switches": self.num_draws_with_switches,
            "switches_each_second": self.num_switches_each_second,
            "cpu_ms_per_frame": round(1000 * self.cpu_seconds / max(self.num_frames, 1), 2),
        }


def _texture(seed: int) -> npt.NDArray[np.float64]:
    """Return a background with coloured clouds of three sizes."""
    random = np.random.default_rng(seed)
    picture = np.full((_HEIGHT, _WIDTH, 3), 118.0)
    for cells, depth in ((6, 30), (24, 20), (80, 12)):
        clouds = random.normal(0, depth, (max(2, cells * _HEIGHT // _WIDTH), cells, 3))
        picture += cv2.resize(clouds, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    return picture


def _noise() -> npt.NDArray[np.float64]:
    return np.random.default_rng(0).normal(0, 4, (2 * _HEIGHT, 2 * _WIDTH, 1))


def draw_shapes(background: RgbImage, boxes: Boxes, palette: Sequence[tuple[int, int, int]]) -> RgbImage:
    """Return a picture of the shapes: alternating ellipses and rectangles, with later ones in front."""
    picture = background.copy()
    for number, ((left, top, right, bottom), colour) in enumerate(zip(boxes.round().astype(int), palette, strict=True)):
        middle, width, height = ((left + right) / 2, (top + bottom) / 2), int(right - left), int(bottom - top)
        if number % 2:
            picture[top:bottom, left:right] = colour
        else:
            cv2.ellipse(picture, (middle, (width, height), 0), colour, cv2.FILLED)
        dark = tuple(round(0.6 * part) for part in colour)
        ends = [(round(middle[0] + side * width / 4), round(middle[1])) for side in (-1, 1)]
        cv2.line(picture, ends[0], ends[1], dark, 3)
    return picture


@dataclass(slots=True)
class _Colours:
    """The colours of the boxes in all draws, and the time that measuring them took."""

    palette: Sequence[tuple[int, int, int]]
    cpu_seconds: float = 0
    num_boxes: int = 0

    def of(self, seen: "_Seen", truth: Boxes, seed: int) -> list[ObservedFrame[int]]:
        """Return the frames of one draw, with the colours of their boxes added."""
        background, noise = np.clip(_texture(seed), 0, 255).astype(np.uint8), _noise()
        frames = []
        for observed in seen.frames:
            picture = draw_shapes(background, truth[observed.frame], self.palette)
            top, left = 37 * observed.frame % _HEIGHT, 61 * observed.frame % _WIDTH
            noisy = picture + noise[top : top + _HEIGHT, left : left + _WIDTH]
            stored = cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            frames.append(replace(observed, colours=self._measured(cv2.imdecode(stored, cv2.IMREAD_COLOR), observed)))
        return frames

    def _measured(self, image: Any, observed: ObservedFrame[int]) -> list[Colours | None]:
        found = observed.found.detections
        started = time.process_time()
        boxes, confidences = found.boxes_xyxy.astype(np.float64), found.confidences.astype(np.float64)
        colours = box_colours(image, boxes, confidences)
        self.cpu_seconds += time.process_time() - started
        self.num_boxes += len(colours)
        return colours


def _count(
    outcome: Outcome,
    seed: int,
    every_seconds: float,
    make: Callable[[], ObjectTracker],
    colours: _Colours | None = None,
) -> None:
    truth = draw_paths(seed)
    seen = _detect(truth, seed, every_seconds)
    frames = seen.frames if colours is None else colours.of(seen, truth, seed)
    started = time.process_time()
    config = TrackingConfig(window_seconds=_WINDOW_SECONDS, every_seconds=every_seconds, whole_clip=True)
    last, last_second = dict[int, int](), dict[int, int]()
    switches = 0
    for followed in follow(frames, config, make):
        boxes, tracks = followed.found.detections, followed.found.tracks or ()
        is_released = boxes.confidences >= _RELEASE_THRESHOLD
        ious = iou_matrix(truth[followed.frame].astype(np.float32), boxes.boxes_xyxy)
        for shape, of_shape in enumerate(ious):
            meeting = np.flatnonzero(is_released & (of_shape >= _MIN_IOU))
            if shape in seen.missed.get(followed.frame, ()):
                outcome.num_missed += 1
                outcome.num_returned += bool(len(meeting))
            # Where one shape hides another, the box belongs to the shape that it fits best.
            own = next((row for row in meeting if ious[:, row].argmax() == shape), None)
            if own is not None and (track := tracks[own].track_id) is not None:
                switches += last.get(shape, track) != track
                last[shape] = track
                if followed.frame % _RATE == 0:
                    outcome.num_switches_each_second += last_second.get(shape, track) != track
                    last_second[shape] = track
        for phantom in seen.phantoms.get(followed.frame, ()):
            outcome.num_phantoms += 1
            outcome.num_gone += not np.any(is_released & np.isclose(boxes.boxes_xyxy, phantom, atol=0.02).all(axis=1))
    outcome.cpu_seconds += time.process_time() - started
    outcome.num_frames += len(frames)
    outcome.num_switches += switches
    outcome.num_draws_with_switches += switches > 0


def measure(draws: range) -> Iterator[tuple[str, float, Mapping[str, float]]]:
    """Yield the name, the seconds between pictures and the figures of each tracker."""
    warnings.simplefilter("ignore")  # the library's own warnings about its interface
    cv2.setNumThreads(1)
    for every in INTERVALS:
        for name, palette in PALETTES.items():
            outcome, colours = Outcome(), _Colours(palette)
            for seed in draws:
                _count(outcome, seed, every, partial(_platform_tracker, every), colours)
            per_box = {"colours_cpu_ms_per_box": round(1000 * colours.cpu_seconds / max(colours.num_boxes, 1), 3)}
            yield f"ByteTrack and colours, {name}", every, outcome.as_row() | per_box
        for name, make in _trackers().items():
            outcome = Outcome()
            for seed in draws:
                _count(outcome, seed, every, lambda make=make, every=every: _LibraryTracker(make(every)))  # type: ignore[misc]
            yield name, every, outcome.as_row()


def _platform_tracker(every_seconds: float) -> ByteTracker:
    lost_seconds = LOST_WINDOWS * _WINDOW_SECONDS
    return ByteTracker(lost_seconds=lost_seconds, every_seconds=every_seconds, start_confidence=_START_CONFIDENCE)


def main() -> None:
    """Measure all trackers and print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 draws")
    parser.add_argument("--first", type=int, default=0, help="the first draw; thresholds were chosen on 0 to 19")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows = []
    draws = range(options.first, options.first + (2 if options.quick else NUM_DRAWS))
    for name, every, figures in measure(draws):
        rows.append({"tracker": name, "every_seconds": every, **figures})
        if not options.json:
            said = ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in figures.items())
            print(f"{name:36} every {every} s: {said}", flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
