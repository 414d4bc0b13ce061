"""Compare frame extraction with the naive way, on generated clips.

    python -m benchmarks.extraction [--json] [--quick] [--clips-in FOLDER] [--clips NAME ...] [--rounds 5] [--parts ...]

Generating the clips takes minutes; `--clips-in` keeps them for the next run. If the sample clip `bigbuckbunny.mp4` has
been fetched, its figures are shown beside those of the generated clips, but do not count.

Ratios compare CPU seconds (or wall time, if the name says so) on the same clip in the same run. They are medians of
several rounds in which the rivals take turns. "The original" is what a script does without a plan: it decodes
everything with PyAV, converts pictures to Pillow images, and saves them with quality 95 and `optimize`. "The floor" of
`keyframe` is the work that no program on top of libavcodec and libjpeg-turbo can avoid: decoding the keyframes' packets
from memory, and encoding the planes.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import imageio_ffmpeg
import numpy as np
import simplejpeg

from benchmarks.costs import Cost, compare
from benchmarks.extraction_clips import GOP_SECONDS, RATE, Clip, make_clip, repeat_clip
from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import record_downloaded
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.records import OutcomeStatus, VideoCandidate, VideoFileRecord
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.media.containers import open_video, packets_of
from data_miner_dagster.media.indexes import read_index
from data_miner_dagster.media.pictures import encode, picture_of, plane_of
from data_miner_dagster.models.cache import model_cache_folder
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.extraction.folder import make_frame_folder
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.extraction import plan_decoding, select_targets

WANTED = {
    "time_exact": (">=", 1.45),
    "time_snap": (">=", 1.5),
    "every5s_snap": (">=", 12.0),
    "keyframe": (">=", 40.0),
    "keyframe_realtime": (">=", 280.0),
    "overhead": ("<=", 1.15),
    "ffmpeg_wall": ("<=", 1.0),
    "memory": ("<=", 1.2),
}
SHOWN = (*WANTED, "keyframe_realtime_high", "keyframe_over_floor")
SIZES = {
    "720p_low": ((1280, 720), 1_500_000),
    "720p_high": ((1280, 720), 6_000_000),
    "1080p_low": ((1920, 1080), 3_000_000),
    "1080p_high": ((1920, 1080), 12_000_000),
}
REAL_CLIP = "720p_real"
REAL_CLIP_SECONDS = 5.28
PARTS = ("single", "folder", "memory")
QUALITY = 95


class Bench:
    """One run of the benchmark: a scratch folder, the clips, and the rivals as functions without arguments."""

    def __init__(
        self, scratch: Path, clips_folder: Path, *, is_quick: bool, rounds: int, names: Sequence[str] | None
    ) -> None:
        self.scratch = scratch
        self.clips_folder = clips_folder
        self.rounds = 1 if is_quick else rounds
        self.seconds = 11 if is_quick else 60
        self.long_factor = 6 if is_quick else 60
        wanted = names or (["720p_low"] if is_quick else list(SIZES))
        self.clips = [
            make_clip(clips_folder / f"{name}.mp4", *SIZES[name], self.seconds) for name in wanted if name != REAL_CLIP
        ]
        sample = model_cache_folder() / "samples" / "bigbuckbunny.mp4"
        if sample.is_file() and not is_quick and (names is None or REAL_CLIP in names):
            one = Clip("sample", sample, REAL_CLIP_SECONDS, is_made=False)
            self.clips.append(repeat_clip(one, clips_folder / f"{REAL_CLIP}.mp4", 12))
        self._counter = 0

    def fresh_folder(self) -> Path:
        """Remove the previous folder, and return a new, empty one."""
        shutil.rmtree(self.scratch / f"out{self._counter}", ignore_errors=True)
        self._counter += 1
        folder = self.scratch / f"out{self._counter}"
        folder.mkdir()
        return folder

    def ours(self, clip: Clip, **settings: Any) -> Callable[[], object]:
        """Return a function that writes our frame folder, with manifest, measures and hashes, in this process."""
        config = ExtractionConfig.model_validate({"jpeg_quality": QUALITY, **settings})
        return lambda: make_frame_folder(FrameFolderJob("bench-1", clip.path, self.fresh_folder(), "bench", config))

    def original_time(self, clip: Clip, every_seconds: int) -> Callable[[], object]:
        """Return a function that decodes everything, and saves a frame every `every_seconds` seconds with Pillow."""

        def run() -> None:
            folder = self.fresh_folder()
            with av.open(str(clip.path)) as container:
                for number, frame in enumerate(container.decode(video=0)):
                    if number % (RATE * every_seconds) == 0:
                        frame.to_image().save(folder / f"{number:06d}.jpg", quality=QUALITY, optimize=True)

        return run

    def original_keyframe(self, clip: Clip) -> Callable[[], object]:
        """Return a function that decodes everything, compares neighbours, and saves frames where a new picture begins.

        Here, this is one frame every 5 seconds.
        """

        def run() -> None:
            folder = self.fresh_folder()
            before = None
            with av.open(str(clip.path)) as container:
                for number, frame in enumerate(container.decode(video=0)):
                    grey = cv2.cvtColor(frame.to_ndarray(format="bgr24"), cv2.COLOR_BGR2GRAY)
                    change = 255.0 if before is None else float(np.mean(cv2.absdiff(grey, before)))
                    before = grey
                    if change > 200 or number % (RATE * GOP_SECONDS) == 0:
                        frame.to_image().save(folder / f"{number:06d}.jpg", quality=QUALITY, optimize=True)

        return run

    def floor_keyframe(self, clip: Clip) -> Callable[[], object]:
        """Return a function that decodes and encodes the keyframes in memory, without files, conversion or measures."""
        with open_video(clip.path) as stream:
            keyframes = [packet for packet in packets_of(stream) if packet.is_keyframe]

        def run() -> None:
            with open_video(clip.path) as stream:
                for packet in [*keyframes, None]:
                    for frame in stream.codec_context.decode(packet):
                        simplejpeg.encode_jpeg_yuv_planes(*(plane_of(frame, number) for number in range(3)), QUALITY)

        return run

    def bare(self, clips: Sequence[Clip], **settings: Any) -> Callable[[], object]:
        """Return a bare loop that decodes the same packets and writes the same pictures, which it knows in advance.

        It processes as many videos at once as this package does, since each core is slower while the others are busy.
        """
        config = ExtractionConfig.model_validate({"jpeg_quality": QUALITY, **settings})
        plans = []
        for clip in clips:
            with open_video(clip.path) as stream:
                index = read_index(stream)
            assert index is not None
            plan = plan_decoding(index, select_targets(index, config))
            assert plan.is_sent is not None
            plans.append((clip, plan.is_sent.tolist(), set(plan.target_pts.tolist())))

        def run() -> None:
            folder = self.fresh_folder()
            # Forked, since a bare loop imports nothing. Each core has a loop, which takes one video after another.
            context = multiprocessing.get_context("fork")
            following = context.Value("i", 0)

            def take() -> None:
                while True:
                    with following.get_lock():
                        number = following.value
                        following.value += 1
                    if number >= len(plans):
                        return
                    clip, is_sent, wanted = plans[number]
                    _write_wanted(clip, is_sent, wanted, folder / str(number))

            processes = [context.Process(target=take) for _ in range(min(len(plans), os.cpu_count() or 1))]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
                assert process.exitcode == 0

        return run

    def platform_with(self, clips: Sequence[Clip], copies: int, **settings: Any) -> tuple[Platform, list[str]]:
        """Return a platform whose catalog holds `copies` downloaded videos, each with different bytes."""
        root = self.fresh_folder() / "root"
        config = ExtractionConfig.model_validate({"jpeg_quality": QUALITY, **settings})
        platform = Platform(PlatformConfig(extraction=config), root)
        save_snapshot(platform.database, "bench", {}, "hash", None)
        keys = [f"file-{number}" for number in range(copies)]
        for number, key in enumerate(keys):
            path = platform.layout.video_folder(key) / "video.mp4"
            path.parent.mkdir(parents=True)
            shutil.copy(clips[number % len(clips)].path, path)
            candidate = VideoCandidate(key, f"https://example.org/{key}", "urls", "bench", 0, utc_now())
            record = VideoFileRecord("video.mp4", path.stat().st_size, sha256_of_file(path), 1.0, 1280, 720)
            with platform.database.transaction() as session:
                add_candidates(session, "bench", [(candidate, None)])
                move_video(session, key, VideoStatus.DOWNLOADING)
                record_downloaded(session, key, record)
        return platform, keys

    def ours_folder(self, clips: Sequence[Clip], copies: int, **settings: Any) -> Callable[[], object]:
        """Return a function that runs the whole operation: catalog, claims, workers, two videos at a time."""
        platform, keys = self.platform_with(clips, copies, **settings)
        kept = self.scratch / "platform"
        platform.database.dispose()
        shutil.rmtree(kept, ignore_errors=True)
        platform.root.rename(kept)
        platform = Platform(platform.config, kept)

        def run() -> None:
            outcomes = extract_frames(platform, keys, force=True)
            assert all(outcome.status is OutcomeStatus.DONE for outcome in outcomes), outcomes

        return run

    def ffmpeg(self, clips: Sequence[Clip], copies: int) -> Callable[[], object]:
        """Return a function that runs one ffmpeg after another, each with as many threads as it chooses."""
        executable = imageio_ffmpeg.get_ffmpeg_exe()

        def run() -> None:
            for number in range(copies):
                source, folder = clips[number % len(clips)].path, self.fresh_folder()
                command = [executable, "-v", "error", "-i", str(source), "-vf", "fps=1", "-q:v", "2"]
                subprocess.run([*command, str(folder / "%06d.jpg")], check=True)

        return run

    def peak_bytes(self, clip: Clip) -> int:
        """Return the peak resident memory of a process that extracts the frames of one video."""
        code = (
            "import sys; from pathlib import Path\n"
            "import cv2; cv2.setNumThreads(1)\n"
            "from benchmarks.costs import own_peak_bytes\n"
            "from data_miner_dagster.config.extraction import ExtractionConfig\n"
            "from data_miner_dagster.operations.extraction.folder import make_frame_folder\n"
            "from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob\n"
            "make_frame_folder(FrameFolderJob('b-1', Path(sys.argv[1]), Path(sys.argv[2]), 'b', ExtractionConfig()))\n"
            "print(own_peak_bytes())"
        )
        command = [sys.executable, "-c", code, str(clip.path), str(self.fresh_folder())]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


Report = Callable[[str, str, Cost, Cost, float], None]


def _write_wanted(clip: Clip, is_sent: Sequence[bool], wanted: Collection[int], stem: Path) -> None:
    """Decode the planned packets, and write the wanted pictures."""
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        # The demuxer ends with one empty packet, which flushes the decoder.
        for packet, is_wanted in zip(container.demux(stream), [*is_sent, True], strict=True):
            for frame in packet.decode() if is_wanted else ():
                if frame.pts in wanted:
                    content = encode(picture_of(frame), "jpg", QUALITY)
                    stem.with_name(f"{stem.name}-{frame.pts}.jpg").write_bytes(content)


def measure(bench: Bench, parts: Sequence[str], report: Report) -> dict[str, float]:
    """Run the parts, and return the figures by key. If there are several generated clips, the worst counts."""
    figures: dict[str, float] = {}
    bench.ours(bench.clips[0])()  # so that imports on first use do not count for the first video
    if "single" in parts:
        for clip in bench.clips:
            for key, rival, own, value in measure_clip(bench, clip):
                report(key, clip.name, rival, own, value)
                if clip.is_made:
                    worst = max if key == "keyframe_over_floor" else min
                    figures[key] = worst(value, figures.get(key, value))
    if "folder" in parts:
        figures |= measure_folder(bench, report)
    if "memory" in parts:
        figures["memory"] = measure_memory(bench)
    return figures


def measure_clip(bench: Bench, clip: Clip) -> Iterator[tuple[str, Cost, Cost, float]]:
    """Yield the key, the rival's cost, our cost and the figure of each measurement of one clip."""
    plain, exact, snap, plain5, every5, plain_keyframe, floor, keyframe = compare(
        [
            bench.original_time(clip, 1),
            bench.ours(clip),
            bench.ours(clip, snap_tolerance_seconds=0.5),
            bench.original_time(clip, 5),
            bench.ours(clip, every_seconds=5.0, snap_tolerance_seconds=0.5),
            bench.original_keyframe(clip),
            bench.floor_keyframe(clip),
            bench.ours(clip, strategy="keyframe"),
        ],
        bench.rounds,
    )
    yield "time_exact", plain, exact, plain.cpu / exact.cpu
    yield "time_snap", plain, snap, plain.cpu / snap.cpu
    yield "every5s_snap", plain5, every5, plain5.cpu / every5.cpu
    yield "keyframe", plain_keyframe, keyframe, plain_keyframe.cpu / keyframe.cpu
    yield "keyframe_over_floor", floor, keyframe, keyframe.cpu / floor.cpu
    if clip.name.startswith("720p"):
        # The high rate has its own key, since decoder and encoder alone do not reach 280 times real time there.
        key = "keyframe_realtime_high" if clip.name == "720p_high" else "keyframe_realtime"
        yield key, Cost(clip.seconds, clip.seconds), keyframe, clip.seconds / keyframe.cpu


def measure_folder(bench: Bench, report: Report) -> dict[str, float]:
    """Return `overhead` and `ffmpeg_wall` for eight videos, whose frames the whole operation extracts."""
    folder = [clip for clip in bench.clips if clip.name.startswith("720p") and clip.is_made]
    eight = [folder[number % len(folder)] for number in range(8)]
    bare, ffmpeg, ours = compare(
        [bench.bare(eight), bench.ffmpeg(folder, 8), bench.ours_folder(folder, 8)], bench.rounds
    )
    figures = {"overhead": ours.cpu / bare.cpu, "ffmpeg_wall": ours.wall / ffmpeg.wall}
    report("overhead", "8 x 720p", bare, ours, figures["overhead"])
    report("ffmpeg_wall", "8 x 720p", ffmpeg, ours, figures["ffmpeg_wall"])
    return figures


def measure_memory(bench: Bench) -> float:
    """Return the peak memory for a long video divided by that for a short one."""
    short = make_clip(bench.clips_folder / "short.mp4", (640, 360), 400_000, 120 if bench.seconds == 60 else 10)
    long = repeat_clip(short, bench.scratch / "long.mp4", bench.long_factor)
    short_bytes, long_bytes = bench.peak_bytes(short), bench.peak_bytes(long)
    print(
        f"{'memory':<24}{f'{long.seconds} s / {short.seconds} s':<14}"
        f"{short_bytes / 1e6:>9.0f} MB{long_bytes / 1e6:>21.0f} MB{'':>9}{long_bytes / short_bytes:>9.2f}"
    )
    return long_bytes / short_bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; with --json the table goes to stderr and one object to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the keys of the table")
    parser.add_argument(
        "--quick", action="store_true", help="use shorter clips and fewer rounds, to check that it works"
    )
    parser.add_argument("--clips-in", type=Path, metavar="FOLDER", help="the folder in which clips are kept")
    parser.add_argument("--clips", nargs="+", choices=[*SIZES, REAL_CLIP], help="use only these")
    parser.add_argument("--rounds", type=int, default=5, help="the number of rounds of which the median counts")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="use only these")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)  # as in a worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        figures = _print_table(options)
    if options.json:
        print(json.dumps({key: round(figures[key], 4) for key in SHOWN if key in figures}))
    return 0


def _print_table(options: argparse.Namespace) -> dict[str, float]:
    def report(key: str, name: str, rival: Cost, own: Cost, value: float) -> None:
        print(
            f"{key:<24}{name:<14}{rival.cpu:>9.2f} {rival.wall:>8.2f}   {own.cpu:>9.3f} {own.wall:>8.3f}{value:>9.2f}",
            flush=True,
        )

    print(f"{'key':<24}{'clip':<14}{'rival cpu':>9} {'wall':>8}   {'ours cpu':>9} {'wall':>8}{'figure':>9}")
    with tempfile.TemporaryDirectory(prefix="bench-extraction-") as scratch:
        clips_folder = options.clips_in or Path(scratch)
        clips_folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(Path(scratch), clips_folder, is_quick=options.quick, rounds=options.rounds, names=options.clips)
        figures = measure(bench, options.parts, report)
    print()
    for key, (relation, wanted) in WANTED.items():
        if key not in figures:
            continue
        is_met = figures[key] >= wanted if relation == ">=" else figures[key] <= wanted
        print(f"{key:<24}{figures[key]:>9.2f}  wanted {relation} {wanted:<6g} {'met' if is_met else 'MISSED'}")
    return figures


if __name__ == "__main__":
    sys.exit(main())
