"""Verify that a file is a video that opens, has a picture and is complete.

Cheap checks come first: the first frame and one near the end are decoded, and the end of the file is read. If the end
fails its check, or the format has no header, the whole file is read, since a wrong header or a failed seek alone does
not justify rejecting a file.
"""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.stream import VideoStream

from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.containers import CONTAINER_OPTIONS, moving_pictures, packets_in
from data_miner_dagster.media.file_ends import FileEnd, asf_seconds, file_end
from data_miner_dagster.media.outcomes import ProbedVideo
from data_miner_dagster.media.readings import Reading, decodes_at_its_end, frames_in, read_through

_TAIL_SECONDS: Final = (0.5, 2.0)
_TAIL_SHARE: Final = 0.02
"""The tolerated excess of the header's duration over the content: 2 %, clamped to `_TAIL_SECONDS`."""
_TAIL_SECONDS_OF_CUT: Final = 0.1
"""The tolerated excess of the header's duration over the content, in seconds, for a file whose structure shows that it
was cut off."""
_HAS_NO_HEADER: Final = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "mjpeg", "obu", "vc1", "dv"})
"""Formats (libavformat's names) that can begin, end and be joined anywhere, so that any duration is a guess."""
_COUNTS_FROM_ZERO: Final = frozenset({"matroska", "webm", "asf"})
"""Formats for which libavformat counts the duration from 0 rather than from the first packet's time."""
_MAY_BE_CUT: Final = (VideoErrorKind.NOT_A_VIDEO, VideoErrorKind.NO_VIDEO_STREAM, VideoErrorKind.UNDECODABLE)
_MAX_DECODE_PACKETS: Final = 400
_MIN_CONTRAST: Final = 4.0
"""The minimum standard deviation of luma for a fingerprint. Flatter pictures look the same in all videos."""


_REPLACE: Final = "replace the file, or remove it from the project's sources"
_FETCH_AGAIN: Final = "copy the file to its source again, or run `data-miner retry --kind {}` to download it again"
_REMEDIES: Final = {
    VideoErrorKind.EMPTY_FILE: _FETCH_AGAIN.format(VideoErrorKind.EMPTY_FILE.value),
    VideoErrorKind.NOT_A_VIDEO: _REPLACE,
    VideoErrorKind.NO_VIDEO_STREAM: _REPLACE,
    VideoErrorKind.TRUNCATED: _FETCH_AGAIN.format(VideoErrorKind.TRUNCATED.value),
    VideoErrorKind.UNDECODABLE: "convert the file if a player can play it, or replace it",
}


def _bad(kind: VideoErrorKind, problem: str, remedy: str = "") -> VideoPermanentError:
    return VideoPermanentError(kind, f"{problem}; {remedy or _REMEDIES[kind]}")


def _refuse_by_first_bytes(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise _bad(VideoErrorKind.EMPTY_FILE, "the file is empty")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<svg")):
        raise _bad(VideoErrorKind.NOT_A_VIDEO, "the file is a web page, not a video")
    if text.startswith((b"#extm3u", b"ffconcat", b"<mpd", b"[playlist]", b"[internetshortcut]")):
        raise _bad(VideoErrorKind.NOT_A_VIDEO, "the file is a playlist, not a video")


def _looks_like_video(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(16)
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free") or head.startswith(
        (b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"FLV", b"\x00\x00\x01\xba", b"\x47\x40")
    )


def probe_video(path: Path, *, max_pixels: int) -> ProbedVideo:
    """Return the verified properties of a video file.

    The first frame and one near the end are decoded, and the packets from there to the end are read. If the end
    contradicts the header, or there is no header, the whole file is read. This detects a truncated file, whose header
    promises more than the file contains. It cannot detect truncation in a stream format without a header (MPEG-TS).

    Raises:
        VideoPermanentError: the file is not a complete video. The kind is EMPTY_FILE, NOT_A_VIDEO, NO_VIDEO_STREAM,
            TRUNCATED, UNDECODABLE or LIMIT_EXCEEDED.
        MemoryError: there is too little memory to read or decode the file.
        OSError: the file is missing, or cannot be read.
    """
    _refuse_by_first_bytes(path)
    try:
        return _probe(path, max_pixels)
    except VideoPermanentError as error:
        if error.kind in _MAY_BE_CUT and file_end(path) is FileEnd.CUT:
            problem = str(error).rpartition("; ")[0]
            raise _bad(VideoErrorKind.TRUNCATED, f"the file is cut off ({problem})") from error
        raise


def _probe(path: Path, max_pixels: int) -> ProbedVideo:
    try:
        container = av.open(str(path), options=dict(CONTAINER_OPTIONS))
    except MemoryError:  # libav's MemoryError is also an FFmpegError, but the file is not at fault
        raise
    except (av.error.FFmpegError, ValueError, OSError) as error:
        if _looks_like_video(path):
            why = f"the file begins like a video but cannot be opened ({getattr(error, 'strerror', None) or error})"
            raise _bad(VideoErrorKind.TRUNCATED, why) from error
        raise _bad(VideoErrorKind.NOT_A_VIDEO, "the file is not in a known video format") from error
    with container:
        stream = moving_pictures(container)
        if stream is None:
            raise _bad(VideoErrorKind.NO_VIDEO_STREAM, "the file has no video stream")
        if stream.codec_context is None:
            remedy = "re-encode the video, for example as H.264"
            raise _bad(VideoErrorKind.UNDECODABLE, "the codec of the video is not supported", remedy)
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > max_pixels:
            raise _bad(
                VideoErrorKind.LIMIT_EXCEEDED,
                f"frames of {width}x{height} exceed platform.downloading.max_pixels={max_pixels}",
                "raise the limit to accept them",
            )
        try:
            return _prove(path, container, stream)
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError) as error:
            raise _bad(VideoErrorKind.UNDECODABLE, f"the video cannot be decoded ({error})") from error


@dataclass(frozen=True, slots=True)
class _Promise:
    """The header's claim that the content lasts from `start` to `end`, in seconds.

    The content may end up to `tolerance` seconds earlier.
    """

    start: float
    end: float
    tolerance: float

    def is_reached_by(self, reading: Reading) -> bool:
        return reading.end_seconds >= self.end - self.tolerance

    def is_kept_by(self, reading: Reading) -> bool:
        return self.is_reached_by(reading) and not reading.is_damaged_at_end


def _promise_of(container: InputContainer, path: Path, end: FileEnd) -> _Promise | None:
    formats = set(container.format.name.split(","))
    header = float(container.duration) / av.time_base if container.duration else 0.0
    if "asf" in formats:
        header = asf_seconds(path) or header
    if header <= 0 or formats & _HAS_NO_HEADER:
        return None
    start = float(container.start_time or 0) / av.time_base
    tolerance = (
        _TAIL_SECONDS_OF_CUT
        if end is FileEnd.CUT
        else min(max(_TAIL_SECONDS[0], _TAIL_SHARE * header), _TAIL_SECONDS[1])
    )
    return _Promise(start, header if formats & _COUNTS_FROM_ZERO else start + header, tolerance)


def _prove(path: Path, container: InputContainer, stream: VideoStream) -> ProbedVideo:
    first = next(
        frames_in(chain(packets_in(container, stream), [None]), stream), None
    )  # exists even in a clip of one picture
    if first is None:
        raise _bad(VideoErrorKind.UNDECODABLE, "no frame of the video can be decoded")
    width, height, start = first.width, first.height, float(container.start_time or 0) / av.time_base
    end = file_end(path)
    promise = _promise_of(container, path, end)
    reading = None if promise is None else _read_tail(container, stream, promise)
    if promise is None or reading is None:
        reading = read_through(path)
        if promise is not None and reading.is_damaged_at_end and end is not FileEnd.WHOLE:
            raise _bad(VideoErrorKind.TRUNCATED, "the last packets of the file are incomplete")
        if promise is not None and not promise.is_reached_by(reading) and _is_missing(promise, reading, path, end):
            said, read = promise.end - promise.start, max(0.0, reading.end_seconds - promise.start)
            raise _bad(VideoErrorKind.TRUNCATED, f"the header states {said:.1f} s, but only {read:.1f} s can be read")
        if not decodes_at_its_end(path, reading):
            raise _bad(VideoErrorKind.UNDECODABLE, "no frame near the end of the video can be decoded")
    duration = _duration(promise, reading)
    return ProbedVideo(
        duration_seconds=round(duration, 6),
        width=width,
        height=height,
        codec=stream.codec_context.name,
        container=container.format.name,
        content_fingerprint=_content_fingerprint(container, stream, start, duration),
    )


def _read_tail(container: InputContainer, stream: VideoStream, promise: _Promise) -> Reading | None:
    """Read the packets near the end of the file, and return the measurements.

    Return None if the packets contradict the header, or if no frame near the end can be decoded.
    """
    try:
        container.seek(int(max(promise.start, promise.end - promise.tolerance) * av.time_base), backward=True)
        reading, is_decoded = Reading(promise.start), False
        for packet in packets_in(container):
            reading.add(packet)
            is_decoded = is_decoded or (packet.stream is stream and any(True for _ in frames_in([packet], stream)))
    except MemoryError:
        raise
    except (av.error.FFmpegError, OverflowError):
        return None
    return reading if is_decoded and promise.is_kept_by(reading) else None


def _is_missing(promise: _Promise, reading: Reading, path: Path, end: FileEnd) -> bool:
    """Return whether the file is damaged, given that its readable content ends before the end that its header states.

    It is damaged if it was cut off, if its structure does not state its length, or if its unread part is large enough
    to hold the missing content. Otherwise the header merely promises too much.
    """
    if end is not FileEnd.WHOLE:
        return True
    num_read, seconds_read = reading.end_byte - reading.start_byte, reading.end_seconds - promise.start
    num_missing = (promise.end - reading.end_seconds) * num_read / seconds_read if seconds_read > 0 else 0.0
    return path.stat().st_size - reading.end_byte > num_missing / 2


def _duration(promise: _Promise | None, reading: Reading) -> float:
    if promise is None:
        return reading.played_seconds
    read, said = reading.end_seconds - promise.start, promise.end - promise.start
    return said if abs(read - said) <= promise.tolerance else read


def _content_fingerprint(container: InputContainer, stream: VideoStream, start: float, duration: float) -> str | None:
    """Return the difference hashes of the pictures at one and two thirds of the duration, in hex, joined by "-".

    The result is None if a picture is unavailable or too flat.
    """
    hashes = []
    for share in (1 / 3, 2 / 3):
        picture = _picture_at(container, stream, start + share * duration)
        if picture is None or picture.std() < _MIN_CONTRAST:
            return None
        hashes.append(f"{_difference_hash(picture):016x}")
    return "-".join(hashes)


def _picture_at(container: InputContainer, stream: VideoStream, seconds: float) -> "npt.NDArray[np.float32] | None":
    """Return an (8, 9) array with the mean luma in each cell of the picture at `seconds`.

    Return None if the picture cannot be decoded or is too far from a keyframe.
    """
    shown = None
    try:
        container.seek(int(seconds * av.time_base), backward=True)
        for number, frame in enumerate(container.decode(stream)):
            if frame.time is not None and frame.time > seconds and shown is not None:
                break
            shown = frame
            if number > _MAX_DECODE_PACKETS:
                return None
    except MemoryError:
        raise
    except (av.error.FFmpegError, OverflowError):
        return None
    if shown is None:
        return None
    small = shown.reformat(width=72, height=64, format="gray").to_ndarray().astype(np.float32)
    means: npt.NDArray[np.float32] = small.reshape(8, 8, 9, 8).mean(axis=(1, 3))
    return means


def _difference_hash(picture: "npt.NDArray[np.float32]") -> int:
    """Return 64 bits, one for each of 8 x 8 cells: 1 if the cell is darker than its right neighbour.

    Source: N. Krawetz, "Kind of like that", 2013.
    """
    bits = np.packbits(picture[:, 1:] > picture[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")
