"""Tiny distinct clips, cut from the sample clips so that real models find something in them."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

SECONDS, FRAME_RATE, SIZE_WH = 2, 8, (160, 120)


def write_clips(folder: Path, samples: Path, count: int) -> list[str]:
    """Write `count` clips of two seconds and return their names.

    Each clip shows a different crop in different colours. The clips are the same on every call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stills = list(_stills(samples))
    names = [f"clip{number:04d}.mp4" for number in range(count)]
    for number, name in enumerate(names):
        _write(folder / name, stills, np.random.default_rng(number))
    return names


def _stills(samples: Path) -> Iterator[npt.NDArray[np.uint8]]:
    for path in sorted(samples.glob("*.mp4")):
        with av.open(str(path)) as reader:
            for number, frame in enumerate(reader.decode(video=0)):
                if number % 24 == 0:
                    yield frame.to_ndarray(format="rgb24")
                if number > 240:
                    break


def _write(path: Path, stills: list[npt.NDArray[np.uint8]], rng: np.random.Generator) -> None:
    still = stills[int(rng.integers(len(stills)))]
    height, width = (int(side * rng.uniform(0.6, 1)) // 2 * 2 for side in still.shape[:2])
    top, left = int(rng.integers(still.shape[0] - height + 1)), int(rng.integers(still.shape[1] - width + 1))
    piece = still[top : top + height, left : left + width] * rng.uniform(0.7, 1.3, 3)
    picture = np.clip(piece, 0, 255).astype(np.uint8)
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("libx264", rate=FRAME_RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        for number in range(SECONDS * FRAME_RATE):
            moved = np.ascontiguousarray(np.roll(picture, number * 3, axis=1))
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24").reformat(*SIZE_WH)))
        writer.mux(stream.encode())
