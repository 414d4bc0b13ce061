"""Open video files, and iterate over their packets."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind

CONTAINER_OPTIONS: Final = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,mxf,h264,hevc,"
    "ivf,dv,m4v,mjpeg,obu,vc1,nut,wtv,yuv4mpegpipe",
    "protocol_whitelist": "file",
}
"""Options for `av.open(..., options=...)` of any untrusted file: only container demuxers, so that a playlist or a
concatenation script disguised as a video cannot make the decoder open other files or addresses."""

_COVERS: Final = Disposition.attached_pic | Disposition.timed_thumbnails
_STORES_PRESENTATION_TIMES: Final = frozenset(
    {"mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "flv", "ogg", "mxf", "asf"}
)
"""Formats (libavformat's names) that store presentation times. AVI and raw streams only count packets."""
_BARE_STREAMS: Final = frozenset({"mpegvideo", "h264", "hevc", "m4v", "mjpeg", "obu", "vc1"})
"""Formats without a container: a sequence of pictures without times."""
_DECODE_NOTHING: Final = {"skip_frame": "all"}
"""Options that keep libavformat from decoding one or two keyframes while it probes a stream."""

_DOWNLOAD_AGAIN: Final = (
    "write the video's key to FILE, and download the video again with "
    "`data-miner backfill --asset videos --project PROJECT --force --keys-file FILE`"
)
"""The remedy for a damaged file of a video. The file was intact when it was stored."""
_LEAST_SEARCHED_BYTES: Final = 1 << 15
"""The minimum number of bytes that libavformat searches for a packet before it gives up. Calling it again continues
the search. Source: libavformat/mpegts.c, MAX_RESYNC_SIZE (65536)."""


@contextmanager
def open_video(path: Path, *, num_threads: int = 1, max_pixels: int | None = None) -> Iterator[VideoStream]:
    """Yield the video stream of a file, with its decoder set to use `num_threads` threads.

    If `max_pixels` is None, pictures may have any size.

    Raises:
        VideoPermanentError: the file does not exist, is empty, is not a video file, has no video stream (sound and
            cover images do not count), has a codec without a decoder, or has pictures larger than `max_pixels`.
    """
    if not path.is_file():
        raise VideoPermanentError(VideoErrorKind.MISSING_FILE, f"{path.name} does not exist; {_DOWNLOAD_AGAIN}")
    if path.stat().st_size == 0:
        raise VideoPermanentError(VideoErrorKind.EMPTY_FILE, f"{path.name} is empty; {_DOWNLOAD_AGAIN}")
    try:
        trial = _DECODE_NOTHING if _describes_its_streams(path) else {}
        container = av.open(str(path), options={**CONTAINER_OPTIONS, **trial})
    except MemoryError:  # libav's MemoryError is also an FFmpegError
        raise
    except (av.FFmpegError, ValueError) as error:
        raise VideoPermanentError(
            VideoErrorKind.NOT_A_VIDEO, f"{path.name} is not a video file ({error}); {_DOWNLOAD_AGAIN}"
        ) from error
    with container:
        stream = moving_pictures(container)
        if stream is None:
            raise VideoPermanentError(
                VideoErrorKind.NO_VIDEO_STREAM,
                f"{path.name} has no video stream (sound and cover images do not count); {_DOWNLOAD_AGAIN}",
            )
        codec = stream.codec_context
        if codec is None:
            raise VideoPermanentError(
                VideoErrorKind.UNDECODABLE,
                f"the video codec of {path.name} is not supported; re-encode the original video, for example as H.264, "
                "and add the new file as a local source",
            )
        if max_pixels is not None and codec.width * codec.height > max_pixels:
            raise VideoPermanentError(
                VideoErrorKind.LIMIT_EXCEEDED,
                f"frames of {codec.width}x{codec.height} exceed platform.extraction.limits.max_pixels={max_pixels}; "
                "raise this limit to accept them",
            )
        codec.thread_count = num_threads
        codec.thread_type = "AUTO" if num_threads > 1 else "SLICE"
        yield stream


def _describes_its_streams(path: Path) -> bool:
    """Return whether the header describes the streams (mp4, mov, mkv, webm), so that libavformat need not decode."""
    with path.open("rb") as file:
        head = file.read(8)
    return head[4:] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3"  # ISO/IEC 14496-12, 4.3; RFC 8794, 11.2.1


def moving_pictures(container: InputContainer) -> VideoStream | None:
    """Return the main video stream, or None if there is none. Cover images do not count.

    Among several streams, a decodable one is preferred, then the default, then the largest, then the first. If no
    stream can be decoded, the result's `codec_context` is None.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & _COVERS]
    return max(streams, key=_preference, default=None)


def _preference(stream: VideoStream) -> tuple[bool, bool, int, int]:
    codec = stream.codec_context
    # Despite its type, this is None if libav has no decoder.
    num_pixels = codec.width * codec.height if codec is not None else 0
    return codec is not None, bool(stream.disposition & Disposition.default), num_pixels, -stream.index


def is_bare_stream(stream: VideoStream) -> bool:
    """Return whether a stream's file is a sequence of pictures without a container."""
    return not _BARE_STREAMS.isdisjoint(stream.container.format.name.split(","))


def stores_presentation_times(stream: VideoStream) -> bool:
    """Return whether the container stores presentation times, rather than only the decode order."""
    return not _STORES_PRESENTATION_TIMES.isdisjoint(stream.container.format.name.split(","))


def packets_of(stream: VideoStream) -> Generator["Packet[Any]", None, None]:
    """Yield a stream's packets, in decode order from the current position, until the file ends or is unreadable."""
    container = stream.container
    assert isinstance(container, InputContainer)
    return packets_in(container, stream)


def packets_in(container: InputContainer, stream: VideoStream | None = None) -> Generator["Packet[Any]", None, None]:
    """Yield the packets of one stream, or of all streams if `stream` is None.

    They begin at the container's current position, and end where the file ends or becomes unreadable.
    """
    streams = () if stream is None else (stream,)
    demuxer = container.demux(*streams)
    num_empty, most_empty = 0, 1 + container.size // _LEAST_SEARCHED_BYTES
    while num_empty <= most_empty:
        try:
            packet = next(demuxer)
        except av.BlockingIOError:  # no packet in a stretch of padding or noise: more may follow
            demuxer, num_empty = container.demux(*streams), num_empty + 1
            continue
        except MemoryError:  # libav's MemoryError is also an FFmpegError
            raise
        except (StopIteration, av.FFmpegError):
            return
        num_empty = 0
        if packet.size:
            yield packet
