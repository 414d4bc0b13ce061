"""Measure the distance between content fingerprints of re-encodings of one clip, and of different clips.

    python -m benchmarks.same_video [--json]

`stages.downloading.MAX_DIFFERENT_BITS` is based on this measurement. Each sample clip, and each of its thirds as a clip
of its own, is encoded again, with three codecs, low bitrates, smaller frames and another frame rate. Thirds of one clip
show one scene at different moments, so of all different videos they are the hardest to distinguish. The duration, which
must also agree, is ignored.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.media.probe import probe_video
from data_miner_dagster.models.packages import fetch_samples
from data_miner_dagster.stages.downloading.failures import MAX_DIFFERENT_BITS

MAX_PIXELS: Final = 8192 * 4352


@dataclass(frozen=True, slots=True)
class Encoding:
    """One way to encode a clip again."""

    name: str
    codec: str
    options: dict[str, str]
    scale: float = 1.0
    every: int = 1  # one of this many frames is kept
    border: float = 0.0  # black bars above and below, as a share of the height


ORIGINAL: Final = Encoding("h264 crf 18", "libx264", {"crf": "18", "preset": "veryfast"})
ENCODINGS: Final = (
    Encoding("h264 crf 28", "libx264", {"crf": "28", "preset": "veryfast"}),
    Encoding("h264 crf 40", "libx264", {"crf": "40", "preset": "veryfast"}),
    Encoding("mpeg4 q 10", "mpeg4", {"qmin": "10", "qmax": "10"}),
    Encoding("mpeg2 q 20", "mpeg2video", {"qmin": "20", "qmax": "20"}),
    Encoding("h264 half size", "libx264", {"crf": "28", "preset": "veryfast"}, scale=0.5),
    Encoding("h264 third size, crf 35", "libx264", {"crf": "35", "preset": "veryfast"}, scale=1 / 3),
    Encoding("h264 half frame rate", "libx264", {"crf": "28", "preset": "veryfast"}, every=2),
)
CHANGED: Final = (Encoding("bars of a tenth", "libx264", {"crf": "28", "preset": "veryfast"}, border=0.1),)


def pictures_of(path: Path) -> tuple[list[RgbImage], int]:
    """Return all frames of a clip, at most 640 wide, and its rounded frame rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        width = min(640, stream.width)
        height = round(stream.height * width / stream.width / 2) * 2
        frames = [frame.to_ndarray(format="rgb24", width=width, height=height) for frame in container.decode(stream)]
        return frames, round(float(stream.average_rate or 25))


def encode(path: Path, frames: Sequence[RgbImage], rate: int, encoding: Encoding) -> Path:
    """Write frames as a video."""
    if encoding.every > 1:
        frames, rate = frames[:: encoding.every], round(rate / encoding.every)
    height, width = (max(2, round(side * encoding.scale / 2) * 2) for side in frames[0].shape[:2])
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoding.codec, rate=rate, options=encoding.options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in frames:
            if bars := int(picture.shape[0] * encoding.border):
                picture = picture.copy()
                picture[:bars] = picture[-bars:] = 0
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame.reformat(width=width, height=height, format="yuv420p")))
        container.mux(stream.encode())
    return path


def distance(one: str, other: str) -> int:
    """Return the greater of the distances at one third and at two thirds, in bits out of 64.

    The threshold applies to this value.
    """
    pairs = zip(one.split("-"), other.split("-"), strict=True)
    return max((int(a, 16) ^ int(b, 16)).bit_count() for a, b in pairs)


def _clips(samples: Sequence[Path]) -> Iterator[tuple[str, list[RgbImage], int]]:
    for path in samples:
        frames, rate = pictures_of(path)
        yield path.stem, frames, rate
        third = len(frames) // 3
        for number in range(3):
            yield f"{path.stem} {number + 1}/3", frames[number * third : (number + 1) * third], rate


def measure() -> dict[str, Any]:
    """Return the distances between encodings of one clip and between different clips."""
    samples = [path for name, path in sorted(fetch_samples().items()) if "distorted" not in name]
    originals: dict[str, str] = {}
    same: dict[str, list[int]] = {encoding.name: [] for encoding in (*ENCODINGS, *CHANGED)}
    with tempfile.TemporaryDirectory() as folder:

        def fingerprint(frames: Sequence[RgbImage], rate: int, encoding: Encoding) -> str | None:
            path = encode(Path(folder) / "clip.mp4", frames, rate, encoding)
            return probe_video(path, max_pixels=MAX_PIXELS).content_fingerprint

        for name, frames, rate in _clips(samples):
            original = fingerprint(frames, rate, ORIGINAL)
            if original is None:
                continue  # the picture is too plain to be distinguished from others
            originals[name] = original
            for encoding in (*ENCODINGS, *CHANGED):
                again = fingerprint(frames, rate, encoding)
                same[encoding.name].append(distance(original, again) if again is not None else 64)
    pairs = list(combinations(originals, 2))
    different = {True: list[int](), False: list[int]()}
    for one, other in pairs:
        different[one.split()[0] == other.split()[0]].append(distance(originals[one], originals[other]))
    encoded = sorted(bits for encoding in ENCODINGS for bits in same[encoding.name])
    return {
        "benchmark": "same_video",
        "num_clips": len(originals),
        "num_reencodings": len(encoded),
        "threshold_bits": MAX_DIFFERENT_BITS,
        "reencodings_max_bits": encoded[-1],
        "reencodings_within_threshold": sum(bits <= MAX_DIFFERENT_BITS for bits in encoded),
        "other_moments_min_bits": min(different[True]),
        "other_moments_within_threshold": sum(bits <= MAX_DIFFERENT_BITS for bits in different[True]),
        "num_other_moments": len(different[True]),
        "other_scenes_min_bits": min(different[False]),
        "num_other_scenes": len(different[False]),
        "max_bits_by_encoding": {name: max(bits) for name, bits in same.items()},
        "reencodings_bits": encoded,
        "other_moments_bits": sorted(different[True]),
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure()
    print(json.dumps(result, indent=2) if arguments.json else "\n".join(f"{k:32} {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
