"""Proof that a file is a video: it opens, has a picture, and is all there. Cheap: two frames are decoded.

The file is foreign. It is opened by container demuxers alone, so that a playlist or a concatenation script that calls
itself a video cannot make the decoder open other files or addresses.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import av.error
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind

CONTAINER_OPTIONS: Final = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,mxf,h264,hevc",
    "protocol_whitelist": "file",
}
"""For `av.open(..., options=...)` of any file that came from outside."""

_TAIL_SECONDS: Final = (0.5, 2.0)
_TAIL_SHARE: Final = 0.02
"""A header may promise so much more than there is: 2 %, at least and at most the seconds above."""
_MAX_DECODE_PACKETS: Final = 400
_MIN_CONTRAST: Final = 4.0
"""Standard deviation of luma: flatter pictures are alike in all videos."""


@dataclass(frozen=True, slots=True)
class ProbedVideo:
    """What a file proved to be. `duration_seconds` is from the header, or from the packets if it has none."""

    duration_seconds: float
    width: int
    height: int
    codec: str
    container: str
    content_fingerprint: str | None  # of two pictures; None where they show too little to tell videos apart


def _bad(kind: VideoErrorKind, message: str) -> VideoPermanentError:
    return VideoPermanentError(kind, message)


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


def _decode_one(container: "av.container.InputContainer", stream: "av.VideoStream") -> "av.VideoFrame | None":
    for number, packet in enumerate(container.demux(stream)):
        for frame in packet.decode():
            return frame
        if number > _MAX_DECODE_PACKETS:
            break
    return None


def _last_seconds(container: "av.container.InputContainer", start_seconds: float) -> tuple[float, bool]:
    """Return (the end of the last packet read, whether any packet was damaged), reading from where it stands."""
    last, is_damaged = start_seconds, False
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        is_damaged = is_damaged or packet.is_corrupt
    return last, is_damaged


def probe_video(path: Path, *, max_pixels: int) -> ProbedVideo:
    """Return what a video file proves to be.

    The first frame is decoded, and one near the end; packets are read from there to the end, which shows a file that
    was cut off: its header promises more than there is. A stream format without a header (MPEG-TS) cannot show it.

    Raises:
        VideoPermanentError: EMPTY_FILE, NOT_A_VIDEO, NO_VIDEO_STREAM, TRUNCATED, UNDECODABLE or LIMIT_EXCEEDED.
    """
    _refuse_by_first_bytes(path)
    try:
        container = av.open(str(path), options=dict(CONTAINER_OPTIONS))
    except (av.error.FFmpegError, ValueError, OSError) as error:
        if _looks_like_video(path):
            raise _bad(VideoErrorKind.TRUNCATED, "the file begins as a video and its index is missing") from error
        raise _bad(VideoErrorKind.NOT_A_VIDEO, "the file is in no video format known") from error
    with container:
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            raise _bad(VideoErrorKind.NO_VIDEO_STREAM, "the file has no video stream")
        stream = streams[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > max_pixels:
            raise _bad(VideoErrorKind.LIMIT_EXCEEDED, f"frames of {width}x{height} exceed max_pixels {max_pixels}")
        try:
            return _prove(container, stream)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            raise _bad(VideoErrorKind.UNDECODABLE, f"the video cannot be decoded: {error}") from error


def _is_cover(stream: "av.VideoStream") -> bool:
    return "attached_pic" in str(getattr(stream, "disposition", "")).lower()


def _prove(container: "av.container.InputContainer", stream: "av.VideoStream") -> ProbedVideo:
    first = _decode_one(container, stream)
    if first is None:
        raise _bad(VideoErrorKind.UNDECODABLE, "no frame of the video can be decoded")
    start = float(container.start_time or 0) / av.time_base
    header = float(container.duration) / av.time_base if container.duration else None
    tolerance = min(max(_TAIL_SECONDS[0], _TAIL_SHARE * (header or 0.0)), _TAIL_SECONDS[1])
    if header is not None and header > 2 * tolerance:
        container.seek(int((start + header - tolerance) * av.time_base), backward=True)
        near_end = _decode_one(container, stream)
        container.seek(int((start + header - tolerance) * av.time_base), backward=True)
    else:
        near_end = first
        container.seek(int(start * av.time_base), backward=True)
    last, is_damaged = _last_seconds(container, start)
    if header is not None and last - start < header - tolerance:
        raise _bad(VideoErrorKind.TRUNCATED, f"the header promises {header:.1f} s, and the file ends before")
    if is_damaged:
        raise _bad(VideoErrorKind.TRUNCATED, "the last packets of the file are incomplete")
    if near_end is None:
        raise _bad(VideoErrorKind.UNDECODABLE, "no frame near the end of the video can be decoded")
    duration = header if header is not None else last - start
    return ProbedVideo(
        duration_seconds=round(duration, 6),
        width=first.width,
        height=first.height,
        codec=stream.codec_context.name,
        container=container.format.name,
        content_fingerprint=_content_fingerprint(container, start, duration),
    )


def _content_fingerprint(container: "av.container.InputContainer", start: float, duration: float) -> str | None:
    """Return the difference hashes of the pictures at one and two thirds, as hex, joined by "-"."""
    hashes = []
    for share in (1 / 3, 2 / 3):
        picture = _picture_at(container, start + share * duration)
        if picture is None or picture.std() < _MIN_CONTRAST:
            return None
        hashes.append(f"{_difference_hash(picture):016x}")
    return "-".join(hashes)


def _picture_at(container: "av.container.InputContainer", seconds: float) -> "npt.NDArray[np.float32] | None":
    """Return the luma on screen at a time as (8, 9), None if it is too far from a keyframe to be cheap."""
    shown = None
    try:
        container.seek(int(seconds * av.time_base), backward=True)
        for number, frame in enumerate(container.decode(video=0)):
            if frame.time is not None and frame.time > seconds and shown is not None:
                break
            shown = frame
            if number > _MAX_DECODE_PACKETS:
                return None
    except av.error.FFmpegError:
        return None
    if shown is None:
        return None
    small = shown.reformat(width=72, height=64, format="gray").to_ndarray().astype(np.float32)
    means: npt.NDArray[np.float32] = small.reshape(8, 8, 9, 8).mean(axis=(1, 3))
    return means


def _difference_hash(picture: "npt.NDArray[np.float32]") -> int:
    """Return 64 bits: whether each of 8 x 8 places is darker than its right neighbour.

    Source: N. Krawetz, "Kind of like that", 2013.
    """
    bits = np.packbits(picture[:, 1:] > picture[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")
