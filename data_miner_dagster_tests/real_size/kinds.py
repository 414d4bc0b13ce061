"""The kinds of clips that must be accepted. Each kind knows when its pictures are shown."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import imageio_ffmpeg
import numpy as np

from data_miner_dagster_tests.real_size.pictures import Picture
from data_miner_dagster_tests.real_size.writing import DEFAULT_ENCODING, Encoding, cover_first, write_clip

ONE: Final = 1 << 16
FILM, NTSC = Fraction(24000, 1001), Fraction(30000, 1001)
_MILLISECOND: Final = Fraction(11, 10_000)

Writer = Callable[[Path, Sequence[Picture], "GoodKind"], None]


@dataclass(frozen=True, slots=True)
class GoodKind:
    """A kind of clip that must be accepted. Pictures are shown at the constant `rate` unless `gaps` is given."""

    name: str
    suffix: str
    encoding: Encoding = DEFAULT_ENCODING
    rate: Fraction = Fraction(25)
    seconds: Fraction = Fraction(23, 10)
    size_wh: tuple[int, int] = (128, 96)
    start: Fraction = Fraction(0)  # time of the first picture
    gaps: Sequence[Fraction] = ()  # times between pictures, repeated, if they are not constant
    num_hidden: int = 0  # leading pictures that an edit list hides
    tolerance: Fraction = _MILLISECOND  # the unit to which the container rounds times
    has_stamps: bool = True  # False if pictures are too small for stamps
    turn: Callable[[Picture], Picture] | None = None  # gives the stored picture, which a matrix turns upright
    patch: Callable[[bytes], bytes] | None = None  # applied to the finished file
    write: Writer | None = None  # used instead of PyAV
    is_named: bool = False  # named in the project file, since its suffix does not identify a video
    is_served: bool | None = None  # over HTTP or not, or None if both will do

    @property
    def num_pictures(self) -> int:
        """The number of pictures that are shown."""
        if self.gaps:
            times = self.times
            return len(times)
        return max(1, int(self.seconds * self.rate))

    @property
    def times(self) -> tuple[Fraction, ...]:
        """The times of the shown pictures, relative to the first."""
        if not self.gaps:
            return tuple(number / self.rate for number in range(max(1, int(self.seconds * self.rate))))
        times = [Fraction(0)]
        while times[-1] + self.gaps[(len(times) - 1) % len(self.gaps)] < self.seconds:
            times.append(times[-1] + self.gaps[(len(times) - 1) % len(self.gaps)])
        return tuple(times)

    def make(self, path: Path, pictures: Sequence[Picture]) -> None:
        """Write a clip of these pictures, hidden ones first."""
        stored = [self.turn(picture) if self.turn is not None else picture for picture in pictures]
        stored = [np.ascontiguousarray(picture) for picture in stored]
        if self.write is not None:
            self.write(path, stored, self)
        elif self.gaps or self.start or self.num_hidden:
            hidden = [-(self.num_hidden - number) / self.rate for number in range(self.num_hidden)]
            times = [self.start + time for time in (*hidden, *self.times)]
            write_clip(path, stored, self.rate, self.encoding, times=times)
        else:
            write_clip(path, stored, self.rate, self.encoding)
        if self.patch is not None:
            path.write_bytes(self.patch(path.read_bytes()))


def by_ffmpeg(*arguments: str, first_pass: Sequence[str] = ()) -> Writer:
    """Return a writer that passes the pictures to the ffmpeg program, for encoders and muxers that PyAV lacks."""

    def write(path: Path, pictures: Sequence[Picture], kind: GoodKind) -> None:
        height, width = pictures[0].shape[:2]
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(kind.rate), "-i", "-"]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, *first_pass]
        command += ["-threads", "1", "-bitexact", *arguments, f"file:{path}"]
        subprocess.run(command, input=b"".join(picture.tobytes() for picture in pictures), check=True)

    return write


_IN_SECONDS: Final = ("-pix_fmt", "yuv420p", "-g", "25")


def _in_segments(*arguments: str) -> Writer:
    """Return a writer of a playlist with segments beside it, whose names start with the playlist's and "-"."""

    def write(path: Path, pictures: Sequence[Picture], kind: GoodKind) -> None:
        # One format requires full paths, others require names relative to the playlist.
        whole = [argument.replace("NAME", str(path.with_suffix(""))) for argument in arguments]
        names = [argument.replace("STEM", path.stem) for argument in whole]
        by_ffmpeg("-c:v", "libx264", "-preset", "ultrafast", "-crf", "16", *_IN_SECONDS, *names)(path, pictures, kind)

    return write


def _two_recordings(path: Path, pictures: Sequence[Picture], kind: GoodKind) -> None:
    """Write two consecutive MPEG-TS recordings into one file; the times of the second start again."""
    half = len(pictures) // 2
    parts = []
    for number, part in enumerate((pictures[:half], pictures[half:])):
        one = path.with_name(f"{path.name}.{number}")
        write_clip(one, part, kind.rate, kind.encoding)
        parts.append(one.read_bytes())
        one.unlink()
    path.write_bytes(b"".join(parts))


def _lying_avi(content: bytes) -> bytes:
    """Return an AVI whose header claims 9,999 pictures."""
    changed = bytearray(content)
    header, stream = changed.index(b"avih") + 8, changed.index(b"strh") + 8
    changed[header + 16 : header + 20] = changed[stream + 32 : stream + 36] = (9999).to_bytes(4, "little")
    return bytes(changed)


H264: Final = Encoding(options={"bf": "0"})
B_FRAMES: Final = Encoding(options={"bf": "2", "b_strategy": "0"})
HEVC: Final = Encoding("libx265", options={"preset": "ultrafast", "x265-params": "log-level=none:pools=none:crf=16"})
AV1: Final = Encoding("libsvtav1", options={"preset": "12", "crf": "12", "svtav1-params": "lp=1:pred-struct=1"})
VP8: Final = Encoding("libvpx", options={"deadline": "realtime", "cpu-used": "8", "b": "2M"})
VP9: Final = Encoding("libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8", "crf": "16", "b": "0"})
_QUALITY: Final = {"qmin": "2", "qmax": "3"}
MPEG1: Final = Encoding("mpeg1video", options=_QUALITY)
MPEG2: Final = Encoding("mpeg2video", options={"bf": "2", **_QUALITY})
MPEG4: Final = Encoding("mpeg4", options=_QUALITY)
MJPEG: Final = Encoding("mjpeg", "yuvj420p", options=_QUALITY)


def _over(encoding: Encoding, **changes: object) -> Encoding:
    options = {**encoding.options, **changes.pop("options", {})}  # type: ignore[dict-item]
    return replace(encoding, options=options, **changes)  # type: ignore[arg-type]


def _turned(*, quarters: int = 0, mirrored: bool = False) -> Callable[[Picture], Picture]:
    def turn(picture: Picture) -> Picture:
        turned = np.rot90(picture, quarters)
        return turned[:, ::-1] if mirrored else turned

    return turn


_W, _H = 128 * ONE, 96 * ONE
_Q: Final = 1 << 30

SPECIAL_KINDS: Final[tuple[GoodKind, ...]] = (
    # mp4 and related containers
    GoodKind("mp4, open groups", "mp4", _over(B_FRAMES, options={"x264-params": "open-gop=1"})),
    GoodKind("mp4, one keyframe", "mp4", _over(B_FRAMES, group=1000)),
    GoodKind("mp4, periodic intra refresh", "mp4", _over(H264, options={"intra-refresh": "1"})),
    GoodKind("mp4, fragmented", "mp4", _over(B_FRAMES, mux_options={"movflags": "frag_keyframe+empty_moov"})),
    GoodKind("mp4, index first", "mp4", _over(B_FRAMES, mux_options={"movflags": "faststart"})),
    GoodKind("mp4, uneven times", "mp4", B_FRAMES, gaps=[Fraction(k, 100) for k in (2, 3, 21, 4, 4, 50)]),
    GoodKind("mp4, starts at 5 s", "mp4", B_FRAMES, start=Fraction(5)),
    GoodKind(
        "mp4, an edit list hides the start",
        "mp4",
        _over(H264, mux_options={"avoid_negative_ts": "disabled", "use_editlist": "1"}),
        num_hidden=6,
    ),
    GoodKind("mp4, 10 bit", "mp4", _over(B_FRAMES, pix_fmt="yuv420p10le")),
    GoodKind("mp4, odd size, 4:4:4", "mp4", _over(H264, pix_fmt="yuv444p"), size_wh=(129, 97)),
    GoodKind("mp4, grey", "mp4", _over(H264, pix_fmt="gray")),
    GoodKind("mp4, rgb", "mp4", _over(H264, codec="libx264rgb", pix_fmt="rgb24")),
    GoodKind("mp4, 4:2:2", "mp4", _over(H264, pix_fmt="yuv422p")),
    GoodKind("mp4, full range", "mp4", _over(H264, pix_fmt="yuvj420p")),
    GoodKind("mp4, interlaced", "mp4", _over(H264, options={"flags": "+ildct+ilme"})),
    GoodKind("mp4, wide pixels", "mp4", _over(H264, aspect=Fraction(4, 3))),
    GoodKind("mp4, narrow pixels", "mp4", _over(H264, aspect=Fraction(8, 9))),
    GoodKind(
        "mp4, PQ",
        "mp4",
        _over(HEVC, pix_fmt="yuv420p10le", colours={"color_trc": 16, "colorspace": 9, "color_primaries": 9}),
    ),
    GoodKind(
        "mp4, HLG",
        "mp4",
        _over(HEVC, pix_fmt="yuv420p10le", colours={"color_trc": 18, "colorspace": 9, "color_primaries": 9}),
    ),
    GoodKind("mp4, BT.709", "mp4", _over(H264, colours={"colorspace": 1, "color_primaries": 1, "color_trc": 1})),
    GoodKind(
        "mp4, turned by 90", "mp4", _over(H264, matrix=(0, ONE, 0, -ONE, 0, 0, _H, 0, _Q)), turn=_turned(quarters=1)
    ),
    GoodKind(
        "mp4, turned by 180", "mp4", _over(H264, matrix=(-ONE, 0, 0, 0, -ONE, 0, _W, _H, _Q)), turn=_turned(quarters=2)
    ),
    GoodKind(
        "mp4, turned by 270", "mp4", _over(H264, matrix=(0, -ONE, 0, ONE, 0, 0, 0, _W, _Q)), turn=_turned(quarters=3)
    ),
    GoodKind(
        "mp4, mirrored", "mp4", _over(H264, matrix=(-ONE, 0, 0, 0, ONE, 0, _W, 0, _Q)), turn=_turned(mirrored=True)
    ),
    GoodKind(
        "mp4, upside down",
        "mp4",
        _over(H264, matrix=(ONE, 0, 0, 0, -ONE, 0, 0, _H, _Q)),
        turn=_turned(quarters=2, mirrored=True),
    ),
    GoodKind(
        "mp4, transposed",
        "mp4",
        _over(H264, matrix=(0, ONE, 0, ONE, 0, 0, 0, 0, _Q)),
        turn=_turned(quarters=3, mirrored=True),
    ),
    GoodKind("mp4, cover last", "mp4", _over(H264, with_cover=True)),
    GoodKind("mp4, cover first", "mp4", _over(H264, with_cover=True), patch=cover_first),
    GoodKind("mp4, small stream first", "mp4", _over(H264, smaller_stream_first=True, larger_is_default=False)),
    GoodKind("mkv, the second stream is default", "mkv", _over(H264, smaller_stream_first=True)),
    GoodKind("mp4, sound", "mp4", _over(B_FRAMES, sound_seconds=2.3)),
    GoodKind("mp4, sound outlasts the pictures", "mp4", _over(H264, sound_seconds=6.0)),
    GoodKind("flv, sound outlasts the pictures", "flv", _over(H264, sound_seconds=6.0)),
    GoodKind("mp4, one picture", "mp4", H264, seconds=Fraction(1, 25)),
    GoodKind("mp4, a picture in two seconds", "mp4", H264, rate=Fraction(1, 2), seconds=Fraction(5)),
    GoodKind("mp4, 120 a second", "mp4", B_FRAMES, rate=Fraction(120)),
    GoodKind("mp4, 2 x 2", "mp4", _over(H264, pix_fmt="yuv444p"), size_wh=(2, 2), has_stamps=False),
    GoodKind("mp4, very wide", "mp4", H264, size_wh=(640, 16), has_stamps=False),
    # Matroska
    GoodKind("mkv, first time is 3.2 s", "mkv", B_FRAMES, start=Fraction(16, 5)),
    GoodKind("mkv, without an index", "mkv", _over(H264, mux_options={"live": "1"})),
    GoodKind("webm, without an index", "webm", _over(VP8, mux_options={"live": "1"})),
    GoodKind("mkv, lossless", "mkv", Encoding("ffv1")),
    GoodKind("mkv, uneven times", "mkv", B_FRAMES, gaps=[Fraction(k, 100) for k in (2, 3, 21, 4, 4, 50)]),
    GoodKind("mkv, groups of 10 s", "mkv", _over(H264, group=250), seconds=Fraction(41, 10)),
    # transport and program streams
    GoodKind("ts, groups of 2 s", "ts", _over(H264, group=50), seconds=Fraction(49, 10)),
    GoodKind("ts, one keyframe", "ts", _over(H264, group=1000), seconds=Fraction(39, 10)),
    GoodKind("ts, B-frames, groups of 2 s", "ts", _over(B_FRAMES, group=50), seconds=Fraction(49, 10)),
    GoodKind(
        "ts, times wrap",
        "ts",
        _over(H264, mux_options={"mpegts_copyts": "1"}),
        start=Fraction(2**33 - 90_000, 90_000),
        seconds=Fraction(29, 10),
    ),
    GoodKind(
        "ts, two recordings",
        "ts",
        _over(H264, container="mpegts"),
        seconds=Fraction(4),
        write=_two_recordings,
        tolerance=Fraction(1, 5),
    ),
    GoodKind("ts, sound outlasts the pictures", "ts", _over(H264, sound_seconds=4.0)),
    GoodKind("m2ts", "m2ts", _over(H264, mux_options={"mpegts_m2ts_mode": "1"}, container="mpegts")),
    GoodKind("MTS", "MTS", _over(H264, container="mpegts")),
    GoodKind("mpg, groups of 2 s", "mpg", _over(MPEG2, group=50), seconds=Fraction(49, 10)),
    GoodKind("vob, groups of 2 s", "vob", _over(MPEG2, group=50, container="vob"), seconds=Fraction(49, 10)),
    # segmented
    GoodKind(
        "HLS, MPEG-TS",
        "m3u8",
        seconds=Fraction(39, 10),
        write=_in_segments("-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "-hls_segment_filename", "NAME-%d.ts"),
        is_served=True,
    ),
    GoodKind(
        "HLS, mp4",
        "m3u8",
        seconds=Fraction(39, 10),
        write=_in_segments(
            *("-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "-hls_segment_type", "fmp4"),
            *("-hls_fmp4_init_filename", "STEM-init.mp4", "-hls_segment_filename", "NAME-%d.m4s"),
        ),
        is_served=True,
    ),
    GoodKind(
        "DASH",
        "mpd",
        seconds=Fraction(39, 10),
        write=_in_segments(
            *("-f", "dash", "-seg_duration", "1", "-init_seg_name", "STEM-i.m4s"),
            *("-media_seg_name", "STEM-$Number$.m4s"),
        ),
        is_served=True,
    ),
    # others
    GoodKind("avi, the header lies", "avi", _over(H264), patch=_lying_avi),
    GoodKind("raw H.264", "h264", _over(H264, container="h264"), is_named=True, is_served=False),
    GoodKind("raw H.264, B-frames", "264", _over(B_FRAMES, container="h264"), is_named=True, is_served=False),
    GoodKind("raw HEVC", "hevc", _over(HEVC, container="hevc"), is_named=True, is_served=False),
    GoodKind("raw MPEG-1", "m1v", _over(MPEG1, container="mpeg1video"), is_named=True, is_served=False),
    GoodKind("raw MPEG-2", "m2v", _over(MPEG2, container="mpeg2video"), is_named=True, is_served=False),
    GoodKind("gif", "gif", Encoding("gif", "rgb8"), rate=Fraction(10), tolerance=Fraction(11, 1000)),
    GoodKind("ogv, Theora", "ogv", write=by_ffmpeg("-c:v", "libtheora", "-q:v", "10", "-g", "12")),
    GoodKind("ogm", "ogm", write=by_ffmpeg("-c:v", "libtheora", "-q:v", "10", "-g", "12", "-f", "ogg")),
    GoodKind("mxf", "mxf", _over(MPEG2, options={"bf": "0"})),
    GoodKind("mov, ProRes", "mov", Encoding("prores_ks", "yuv422p10le")),
    GoodKind("mov, ProRes with alpha", "mov", Encoding("prores_ks", "yuva444p10le", options={"profile": "4"})),
    GoodKind("mov, Animation", "mov", Encoding("qtrle", "rgb24")),
    GoodKind("mov, PNG with alpha", "mov", Encoding("png", "rgba")),
    GoodKind("wmv", "wmv", Encoding("wmv2", options=_QUALITY)),
    GoodKind("asf, MS MPEG-4", "asf", Encoding("msmpeg4", options=_QUALITY)),
    GoodKind("asf, starts late", "asf", Encoding("msmpeg4", options=_QUALITY), start=Fraction(7, 5)),
    GoodKind("3gp, H.263", "3gp", Encoding("h263", options=_QUALITY), rate=NTSC),
    GoodKind("3g2", "3g2", MPEG4, is_named=True),
    GoodKind("f4v", "f4v", H264, is_named=True),
    GoodKind("mp4 that calls itself avi", "avi", _over(H264, container="mp4")),
    GoodKind("webm that calls itself mp4", "mp4", _over(VP9, container="webm")),
    GoodKind(
        "mp4 without an ending it is known by", "download", _over(H264, container="mp4"), is_named=True, is_served=False
    ),
)


_ANY: Final = (*map(Fraction, (5, 8, 10, 12, 15, 24, 25, 30, 50, 60)), FILM, NTSC, 2 * NTSC, Fraction(25, 2))
_BROADCAST: Final = (*map(Fraction, (24, 25, 30, 50, 60)), FILM, NTSC, 2 * NTSC)


@dataclass(frozen=True, slots=True)
class Family:
    """A container with a codec, to be combined with rates, group lengths, sizes and start times."""

    suffix: str
    encoding: Encoding
    rates: Sequence[Fraction] = _ANY
    sizes_wh: Sequence[tuple[int, int]] = ((96, 64), (128, 96), (160, 120), (120, 160), (144, 80))
    starts: Sequence[Fraction] = (Fraction(0),)
    groups: Sequence[int] = (1, 5, 12, 25, 60, 250)
    weight: int = 1
    tolerance: Fraction = _MILLISECOND


_STARTS: Final = (Fraction(0), Fraction(0), Fraction(2, 5), Fraction(7, 5), Fraction(10))

FAMILIES: Final[tuple[Family, ...]] = (
    Family("mp4", H264, starts=_STARTS, weight=3),
    Family("mp4", B_FRAMES, starts=_STARTS, weight=3),
    Family("MP4", _over(B_FRAMES, container="mp4")),
    Family("m4v", MPEG4, starts=_STARTS),
    Family("mov", B_FRAMES, starts=_STARTS, weight=2),
    Family("mov", MJPEG),
    Family("mp4", HEVC, weight=2),
    Family("mp4", AV1, groups=(12, 60)),
    Family("mkv", B_FRAMES, starts=_STARTS, weight=3),
    Family("mkv", VP9, starts=_STARTS),
    Family("webm", VP9, starts=_STARTS, weight=2),
    Family("webm", VP8, starts=_STARTS, weight=2),
    Family("ts", H264, starts=_STARTS, weight=2),
    Family("ts", B_FRAMES, starts=_STARTS, weight=2),
    Family("ts", MPEG2, rates=_BROADCAST, groups=(5, 12, 25)),
    Family("ts", HEVC, groups=(12, 50)),
    Family("mpg", MPEG2, rates=_BROADCAST, groups=(5, 12, 25), weight=2),
    Family("mpeg", MPEG1, rates=_BROADCAST, groups=(5, 12, 25)),
    Family("avi", MPEG4, weight=2),
    Family("avi", MJPEG),
    Family("avi", H264),
    Family("flv", B_FRAMES, starts=_STARTS, weight=2),
    Family("flv", Encoding("flv", options=_QUALITY)),
    Family("wmv", Encoding("wmv2", options=_QUALITY)),
    Family("gif", Encoding("gif", "rgb8"), rates=(Fraction(5), Fraction(10)), tolerance=Fraction(11, 1000)),
)


def crossed_kind(number: int) -> GoodKind:
    """Return a kind for any `number`: a family with its own rate, group length, size, duration and start time."""
    rng = np.random.default_rng((20_260_101, number))
    families = [family for family in FAMILIES for _ in range(family.weight)]
    family = families[number % len(families)]

    def one_of(values: Sequence[object]) -> int:
        return int(rng.integers(len(values)))

    rate = family.rates[one_of(family.rates)]
    group = family.groups[one_of(family.groups)]
    start = family.starts[one_of(family.starts)]
    size_wh = family.sizes_wh[one_of(family.sizes_wh)]
    seconds = Fraction(int(rng.integers(11, 39)), 10) + Fraction(1, 23)
    words = [family.suffix, family.encoding.codec, f"{float(rate):.4g} a second", f"groups of {group}"]
    return GoodKind(
        ", ".join([*words, f"from {float(start):g} s"]),
        family.suffix,
        replace(family.encoding, group=group),
        rate=rate,
        seconds=seconds,
        size_wh=size_wh,
        start=start,
        tolerance=family.tolerance,
    )
