"""Proof that a file is a video: it opens, has a picture, and is all there. Cheap: two frames are decoded.

The file is foreign. It is opened by container demuxers alone, so that a playlist or a concatenation script that calls
itself a video cannot make the decoder open other files or addresses.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import av.error

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


@dataclass(frozen=True, slots=True)
class ProbedVideo:
    """What a file proved to be. `duration_seconds` is from the header, or from the packets if it has none."""

    duration_seconds: float
    width: int
    height: int
    codec: str
    container: str


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
    )
