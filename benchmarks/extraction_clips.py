"""Generate clips of a camera that moves over a textured scene, and long videos that repeat a clip's packets."""

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace

RATE = 30
GOP_SECONDS = 5
_BT709 = 1  # AVCOL_SPC_BT709: the tag of nearly all video with 720 lines or more


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip generated for the benchmark."""

    name: str
    path: Path
    seconds: float
    is_made: bool = True


def make_clip(
    path: Path,
    size: tuple[int, int],
    bit_rate: int,
    seconds: int,
    *,
    group_seconds: float = GOP_SECONDS,
    seed: int = 7,
) -> Clip:
    """Generate a clip that turns and zooms over a scene, with moving objects, grain, B-frames and closed groups.

    Keyframes take 12 % of the bits at the low rate of 720p, and 5 % at the high rate. In real clips they take 13 %
    (`bigbuckbunny.mp4`: 720p, 1.2 Mbit/s, one GOP of 5.3 s) and 18 % (`bikes.mp4`). Colours are BT.709 and tagged as
    such, as in nearly all video of this size. If the file exists, it is used unchanged.
    """
    name = path.stem
    if path.is_file():
        return Clip(name, path, seconds)
    width, height = size
    rng = np.random.default_rng(seed)
    scene = np.zeros((height, width, 3), np.float32)
    for cell, strength in ((96, 80.0), (24, 24.0), (6, 6.0)):
        noise = rng.normal(0, strength, (height // cell + 3, width // cell + 3, 3)).astype(np.float32)
        scene += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    scene8 = np.clip(scene + 128, 0, 255).astype(np.uint8)
    grain = rng.integers(0, 12, (11, height, width, 3), dtype=np.uint8)
    partial = path.with_name(f"partial-{name}.mp4")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate, stream.gop_size = bit_rate, max(1, round(RATE * group_seconds))
        stream.options = {"preset": "veryfast", "bf": "3", "sc_threshold": "0"}
        stream.codec_context.colorspace = _BT709
        for number in range(seconds * RATE):
            zoom = 1.15 + 0.12 * np.sin(number / 40)
            turn = cv2.getRotationMatrix2D((width / 2, height / 2), 8 * np.sin(number / 55), zoom)
            turn[:, 2] += 40 * np.sin(number / 17), 25 * np.cos(number / 23)
            picture = cv2.warpAffine(scene8, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
            for thing in range(4):
                centre = (int(number * (7 + 3 * thing)) % width, int(number * 5 + thing * 150) % height)
                cv2.circle(picture, centre, height // 12, (240 - 50 * thing, 200, 30 + 60 * thing), -1)
            picture = cv2.add(picture, grain[number % 11])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)))
        container.mux(stream.encode(None))
    partial.replace(path)
    return Clip(name, path, seconds)


def repeat_clip(clip: Clip, path: Path, times: int) -> Clip:
    """Create a long video by repeating the packets of a clip with continuous timestamps, without encoding."""
    with av.open(str(path), "w") as target:
        out = None
        for turn in range(times):
            with av.open(str(clip.path)) as source:
                stream = source.streams.video[0]
                if out is None:
                    out = target.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts is None or packet.time_base is None:
                        continue
                    shift = round(turn * clip.seconds / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, out
                    target.mux(packet)
    return Clip(path.stem, path, clip.seconds * times, clip.is_made)
