"""Send mutated videos and pictures through the workers that verify, extract and import them.

    python -m benchmarks.hostile_media [--json] [--quick] [--videos 500] [--pictures 300] [--seed 1]

Tiny valid files of many containers and codecs are created, and each mutant is one of them with flipped, cut, moved or
inserted bytes. The correct result is frames or a reason. A fault is a crash (the worker died), a hang (the time limit
killed the worker), a silently empty result (success without a frame, or files that do not match the rows), a traceback
(an unexpected exception), or the loss of a valid picture beside a mutant. All counts must be 0.
"""

import argparse
import io
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import UnreadableImageError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.operations.extraction.workers import FrameWorkers
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob
from data_miner_dagster.operations.foreign.media_workers import MediaWorkers
from data_miner_dagster.workers.errors import WorkerFaultError
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster_tests.support.barcode_clips import barcode_picture, make_clip

FAULTS: Final = ("crash", "hang", "silent empty", "traceback", "sound picture lost")
SECONDS: Final = 60.0
_HEADER_BYTES: Final = 1200
_H264: Final = {"preset": "ultrafast"}
_CLIPS: Final[Mapping[str, Mapping[str, Any]]] = {
    "a.mp4": {"options": _H264},
    "fragments.mp4": {"options": _H264, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=none", "preset": "ultrafast"}},
    "mpeg4.mov": {"codec": "mpeg4"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "a.mkv": {"options": _H264},
    "ffv1.mkv": {"codec": "ffv1"},
    "vp8.webm": {"codec": "libvpx", "options": {"deadline": "realtime"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "a.ts": {"options": _H264},
    "a.mpg": {"codec": "mpeg2video", "frame_rate": Fraction(25)},
    "a.flv": {"options": _H264},
    "a.wmv": {"codec": "wmv2"},
    "a.mxf": {"codec": "mpeg2video", "frame_rate": Fraction(25)},
    "a.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "a.h264": {"options": _H264, "container_format": "h264"},
}


def make_videos(folder: Path) -> list[Path]:
    """Write one tiny valid clip of each kind."""
    settings = {"num_frames": 12, "size": (96, 64), "gop": 6}
    return [make_clip(folder / name, **{**settings, **extra}) for name, extra in _CLIPS.items()]


def make_pictures(folder: Path) -> list[Path]:
    """Write one tiny valid picture of each kind."""
    photo = Image.fromarray(barcode_picture(1234, 160, 120))
    grey = np.asarray(photo.convert("L"))
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds: dict[str, Callable[[io.BytesIO], None]] = {
        "a.jpg": partial(photo.save, format="JPEG"),
        "progressive.jpg": partial(photo.save, format="JPEG", progressive=True),
        "turned.jpg": partial(photo.save, format="JPEG", exif=turned),
        "cmyk.jpg": partial(photo.convert("CMYK").save, format="JPEG"),
        "two.jpg": partial(photo.save, format="MPO", save_all=True, append_images=[photo.resize((80, 60))]),
        "a.png": partial(photo.save, format="PNG"),
        "clear.png": partial(photo.convert("RGBA").save, format="PNG"),
        "palette.png": partial(photo.quantize(32).save, format="PNG"),
        "deep.png": partial(Image.fromarray(grey.astype(np.uint16) * 257).save, format="PNG"),
        "a.webp": partial(photo.save, format="WEBP"),
        "a.gif": partial(photo.save, format="GIF"),
        "a.bmp": partial(photo.save, format="BMP"),
        "tiff.jpg": partial(photo.save, format="TIFF"),
    }
    for name, save in kinds.items():
        buffer = io.BytesIO()
        save(buffer)
        (folder / name).write_bytes(buffer.getvalue())
    return sorted(folder.iterdir())


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return the content of a file with a few bytes flipped, cut off, zeroed, moved, inserted or repeated."""
    data, size = bytearray(content), len(content)
    place, length = rng.randrange(size), rng.randrange(1, 3000)
    match rng.randrange(9):
        case 0 | 1 | 2 | 3 as scattered:
            _scatter(data, scattered, rng)
        case 4:
            del data[max(1, place) :]
        case 5:
            data[place : place + length] = bytes(min(length, size - place))
        case 6:
            other = rng.randrange(size)
            data[place:place] = data[other : other + length]
        case 7:
            data[place:place] = rng.randbytes(length)
        case 8:
            data[place : place + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def _scatter(data: bytearray, kind: int, rng: random.Random) -> None:
    """Change single bits anywhere (`kind` 0 or 1), one byte in fifty (2), or some bytes of the header (3)."""
    size = len(data)
    if kind == 2:
        for _ in range(size // 50):
            data[rng.randrange(size)] = rng.randrange(256)
    elif kind == 3:
        for _ in range(rng.randrange(1, 12)):
            data[rng.randrange(min(size, _HEADER_BYTES))] = rng.choice([0, 127, 128, 255, rng.randrange(256)])
    else:
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(size)] ^= 1 << rng.randrange(8)


def outcome_of(work: Callable[[], str]) -> str:
    """Return the outcome of one mutant: `ok`, `reason: KIND`, or one of `FAULTS`."""
    try:
        return work()
    except UnreadableImageError:
        return "reason: unreadable"
    except (VideoPermanentError, VideoTransientError) as error:
        if error.kind is VideoErrorKind.CRASHED:
            return "crash"
        if error.kind is VideoErrorKind.LIMIT_EXCEEDED and "longer than" in str(error):
            return "hang"
        return f"reason: {error.kind.value}"
    except WorkerFaultError as error:
        print(f"{error} ({error.place})\n{error.trace}", file=sys.stderr)
        return "traceback"


def _frames(workers: FrameWorkers, path: Path, folder: Path, pictures: Sequence[Path] = ()) -> str:
    folder.mkdir()
    config = ExtractionConfig.model_validate({"every_seconds": 0.1, "limits": {"max_seconds": SECONDS}})
    job = FrameFolderJob("frames-x" if pictures else "file-x", path, folder, "x", config, 1, tuple(pictures))
    summary = workers.make_frame_folder(job)
    num_files = sum(file.suffix != ".parquet" for file in folder.iterdir())
    if not summary.num_frames or num_files != summary.num_frames:
        return "silent empty"
    return "ok"


def try_videos(folder: Path, num_videos: int, seed: int) -> Counter[str]:
    """Count the outcomes of verifying and of extracting mutants. Those that fail verification are extracted, too."""
    (folder / "seeds").mkdir(parents=True)
    seeds, rng, tally = make_videos(folder / "seeds"), random.Random(seed), Counter[str]()
    limits = WorkerLimits(SECONDS, SECONDS, 2 << 30)
    with MediaWorkers(limits, max_pixels=10**8) as media, FrameWorkers() as workers:
        for number in range(num_videos):
            origin = seeds[number % len(seeds)]
            path = folder / f"{number}_{origin.name}"
            path.write_bytes(mutated(origin.read_bytes(), rng))
            proof = outcome_of(lambda path=path: "ok" if media.probe(path).duration_seconds >= 0 else "traceback")  # type: ignore[misc]
            frames = outcome_of(partial(_frames, workers, path, folder / f"{number}"))
            tally.update([f"proof: {proof}", f"frames: {frames}"])
            if {proof, frames} & set(FAULTS):
                print(f"{path}: {proof}, {frames}", file=sys.stderr)
            else:
                path.unlink()
    return tally


def try_pictures(folder: Path, num_pictures: int, seed: int) -> Counter[str]:
    """Count the outcomes of mutants that are read as thumbnails, and imported from a folder with a valid picture."""
    (folder / "seeds").mkdir(parents=True)
    seeds, rng, tally = make_pictures(folder / "seeds"), random.Random(seed), Counter[str]()
    sound = folder / "seeds" / "a.jpg"
    limits = WorkerLimits(SECONDS, SECONDS, 2 << 30)
    with MediaWorkers(limits, max_pixels=10**8) as media, FrameWorkers() as workers:
        for number in range(num_pictures):
            origin = seeds[number % len(seeds)]
            path = folder / f"{number}_{origin.name}"
            content = mutated(origin.read_bytes(), rng)
            path.write_bytes(content)
            seen = outcome_of(lambda content=content: "ok" if media.see(content) else "silent empty")  # type: ignore[misc]
            made = outcome_of(partial(_frames, workers, path, folder / f"{number}", [sound, path]))
            made = "sound picture lost" if made.startswith("reason") else made
            tally.update([f"seen: {seen}", f"imported: {made}"])
            if {seen, made} & set(FAULTS):
                print(f"{path}: {seen}, {made}", file=sys.stderr)
            else:
                path.unlink()
    return tally


def num_faults(tally: Counter[str]) -> dict[str, int]:
    """Return the number of times that each fault occurred."""
    return {fault: sum(count for name, count in tally.items() if name.partition(": ")[2] == fault) for fault in FAULTS}


def main() -> int:
    """Try all mutants and print the outcomes. Return 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth")
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    share = 10 if options.quick else 1
    with tempfile.TemporaryDirectory() as folder:
        tally = try_videos(Path(folder, "videos"), options.videos // share, options.seed)
        tally += try_pictures(Path(folder, "pictures"), options.pictures // share, options.seed)
    faults = num_faults(tally)
    figures = {**{f"num_{name.replace(' ', '_')}": count for name, count in faults.items()}, "tally": dict(tally)}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, count in sorted(tally.items()):
            print(f"{count:6} {name}")
        print(", ".join(f"{name}: {count}" for name, count in faults.items()))
    return int(any(faults.values()))


if __name__ == "__main__":
    sys.exit(main())
