"""Compare the cost of planned decoding with that of the best fixed way, for several file structures and settings.

    python -m benchmarks.planning [--json] [--quick] [--clips-in FOLDER] [--clips NAME ...] [--rounds 5]

Every way decodes the same frames. No way encodes pictures, since that would hide the differences. Ours opens the file,
reads its index, plans and decodes. The fixed ways know the wanted frames and the keyframes to seek to in advance, and
read no index:

    through   decode everything up to the last wanted frame
    nonref    the same, but the decoder skips frames to which no other frame refers (`skip_frame`)
    nonkey    the same, but the decoder skips everything except keyframes
    seeks     seek to each keyframe that is needed, and decode from there to the last wanted frame of its group

A way that misses a wanted frame does not count. A way that takes at least one and a half times as long as the best is
timed only once. `planning` is our CPU time divided by that of the best other way, for the worst of all clips and
settings. Each time is the least of several rounds, since other work on the machine can only add to it.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from benchmarks.costs import compare, cost_of
from benchmarks.extraction_clips import Clip, make_clip, repeat_clip
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.decoding import VideoIndex
from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.decoding import DecodeTally, decode_targets
from data_miner_dagster.media.indexes import read_index
from data_miner_dagster.operations.extraction.folder import index_readers
from data_miner_dagster.stages.extraction import plan_decoding, select_targets

WANTED: Final = 1.1
FIXED: Final = ("through", "nonref", "nonkey", "seeks")
_HOPELESS: Final = 1.5
LOW: Final = ((1280, 720), 1_500_000, 5.0, 20)
CLIPS: Final = {
    "720p": LOW,
    "720p_high": ((1280, 720), 6_000_000, 5.0, 20),
    "half_second": ((1280, 720), 3_000_000, 0.5, 20),
    "one_group": ((1280, 720), 1_500_000, 1000.0, 20),
    "keyframes": ((1280, 720), 12_000_000, 0.0, 20),
    "360p": ((640, 360), 400_000, 5.0, 120),
    "matroska": LOW,
}
"""The size, the bits per second, the seconds between keyframes and the duration of each clip, by name."""
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "every frame": {"strategy": "interval", "every_frames": 1},
    "every 10th frame": {"strategy": "interval", "every_frames": 10},
    "1 a second": {"strategy": "time", "every_seconds": 1.0},
    "1 a second, snapped": {"strategy": "time", "every_seconds": 1.0, "snap_tolerance_seconds": 0.5},
    "1 in 5 s, snapped": {"strategy": "time", "every_seconds": 5.0, "snap_tolerance_seconds": 0.5},
    "1 in 10 s": {"strategy": "time", "every_seconds": 10.0},
    "5 a video": {"strategy": "uniform", "num_frames": 5},
    "keyframes": {"strategy": "keyframe", "max_gap_seconds": None},
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The frames wanted from one clip under one setting, and each group's keyframe and last wanted frame."""

    pts: frozenset[int]
    groups: tuple[tuple[int, int], ...]


def make_clips(folder: Path, names: Iterable[str], *, is_quick: bool) -> list[Clip]:
    """Generate the clips, or use existing ones."""
    clips = []
    for name in names:
        size, bit_rate, group_seconds, seconds = CLIPS[name]
        clip = make_clip(
            folder / f"{'720p' if name == 'matroska' else name}.mp4",
            size,
            bit_rate,
            11 if is_quick else seconds,
            group_seconds=group_seconds,
        )
        clips.append(repeat_clip(clip, folder / f"{name}.mkv", 1) if name == "matroska" else clip)
    return clips


def wanted_of(clip: Clip, config: ExtractionConfig) -> Wanted:
    """Return the frames that every way has to decode. The clips have only closed groups."""
    with open_video(clip.path) as stream:
        index = read_index(stream)
    assert index is not None
    targets = select_targets(index, config)
    starts = index.keyframe_pts[np.searchsorted(index.keyframe_pts, targets, side="right") - 1]
    groups = tuple((int(start), int(targets[starts == start].max())) for start in np.unique(starts))
    return Wanted(frozenset(targets.tolist()), groups)


def ours(clip: Clip, config: ExtractionConfig) -> int:
    """Decode the clip like the platform, which reopens a file that it cannot seek in, and count the frames."""
    for reader in index_readers(config):
        with open_video(clip.path) as stream:
            index = reader(stream)
            if index is not None and index.is_seekable:
                return _see(stream, index, config)
        if index is not None:
            with open_video(clip.path) as stream:
                return _see(stream, index, config)
    return 0


def _see(stream: VideoStream, index: VideoIndex, config: ExtractionConfig) -> int:
    plan = plan_decoding(index, select_targets(index, config))
    return sum(1 for _ in decode_targets(stream, index, plan, DecodeTally()))


def through(clip: Clip, wanted: Wanted, skip: str = "DEFAULT") -> int:
    """Decode from the start to the last wanted frame, and return how many wanted frames were decoded."""
    remaining = set(wanted.pts)
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.skip_frame = skip
        for frame in container.decode(stream):
            remaining.discard(frame.pts)
            if not remaining:
                break
    return len(wanted.pts) - len(remaining)


def seeks(clip: Clip, wanted: Wanted) -> int:
    """Seek to one keyframe after another, and return how many wanted frames were decoded."""
    remaining = set(wanted.pts)
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for start, last in wanted.groups:
            container.seek(start, stream=stream)
            for frame in container.decode(stream):
                remaining.discard(frame.pts)
                if frame.pts >= last:
                    break
    return len(wanted.pts) - len(remaining)


def measure(clip: Clip, setting: str, rounds: int) -> float:
    """Print one line, and return our CPU time divided by that of the best fixed way."""
    config = ExtractionConfig.model_validate(SETTINGS[setting])
    wanted = wanted_of(clip, config)
    ways: dict[str, Callable[[], int]] = {
        "through": lambda: through(clip, wanted),
        "nonref": lambda: through(clip, wanted, "NONREF"),
        "nonkey": lambda: through(clip, wanted, "NONKEY"),
        "seeks": lambda: seeks(clip, wanted),
    }
    ways = {name: way for name, way in ways.items() if way() == len(wanted.pts)}
    assert ours(clip, config) == len(wanted.pts)
    costs = {name: cost_of(way) for name, way in ways.items()}
    least = min(cost.cpu for cost in costs.values())
    rivals = [name for name, cost in costs.items() if cost.cpu < _HOPELESS * least]
    own, *others = compare([lambda: ours(clip, config), *(ways[name] for name in rivals)], rounds, min)
    costs |= dict(zip(rivals, others, strict=True))
    best = min(costs, key=lambda name: costs[name].cpu)
    figure = own.cpu / costs[best].cpu
    cells = "".join(f"{costs[name].cpu:>10.3f}" if name in costs else f"{'-':>10}" for name in FIXED)
    print(f"{clip.path.stem:<14}{setting:<22}{own.cpu:>9.3f}{cells}   {best:<9}{figure:>7.2f}", flush=True)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; with --json the table goes to stderr and one object to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the worst figure")
    parser.add_argument("--quick", action="store_true", help="use shorter clips and one round, to check that it works")
    parser.add_argument("--clips-in", type=Path, metavar="FOLDER", help="the folder in which clips are kept")
    parser.add_argument("--clips", nargs="+", choices=list(CLIPS), default=list(CLIPS), help="use only these")
    parser.add_argument("--rounds", type=int, default=5, help="the number of rounds of which the least counts")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)  # as in a worker
    with (
        tempfile.TemporaryDirectory(prefix="bench-planning-") as scratch,
        contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext(),
    ):
        folder = options.clips_in or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        clips = make_clips(folder, options.clips, is_quick=options.quick)
        header = "".join(f"{name:>10}" for name in FIXED)
        print(f"{'clip':<14}{'setting':<22}{'ours cpu':>9}{header}   {'best':<9}{'figure':>7}")
        rounds = 1 if options.quick else options.rounds
        worst = max(measure(clip, setting, rounds) for clip in clips for setting in SETTINGS)
        print(f"\n{'planning':<24}{worst:>9.2f}  wanted <= {WANTED:<6g} {'met' if worst <= WANTED else 'MISSED'}")
    if options.json:
        print(json.dumps({"planning": round(worst, 4)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
