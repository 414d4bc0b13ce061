"""Decode exactly the pictures that a plan requests."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, islice
from typing import Any, Final

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data_miner_dagster.domain.decoding import BoolArray, DecodePlan, VideoIndex
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.containers import is_bare_stream, packets_of, stores_presentation_times

_USUAL_RATE: Final = 25


@dataclass(slots=True)
class DecodeTally:
    """Counts of all decoded frames, and of errors: undecodable packets and corrupt frames."""

    num_decoded: int = 0
    num_errors: int = 0


def decode_all(stream: VideoStream, tally: DecodeTally) -> Iterator[VideoFrame]:
    """Yield every intact frame in presentation order.

    Undecodable packets, and frames that the decoder marks as corrupt, are counted and skipped.
    """
    for packet in packets_of(stream):
        yield from _frames_of(stream, packet, tally)
    yield from _frames_of(stream, None, tally)


def decode_numbered(stream: VideoStream, index: VideoIndex, tally: DecodeTally) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (pts, frame) for each intact frame that the index lists as shown, in presentation order.

    The stream must be freshly opened.
    """
    shown = index.frame_pts.tolist()
    if index.is_from_content:
        yield from zip(shown, decode_all(stream, tally), strict=False)
        return
    remaining = set(shown)
    for frame in decode_all(stream, tally):
        if frame.pts is not None and frame.pts in remaining:
            remaining.remove(frame.pts)
            yield frame.pts, frame


def decode_targets(
    stream: VideoStream, index: VideoIndex, plan: DecodePlan, tally: DecodeTally
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (pts, frame) for the decodable entries of `plan.target_pts`, in ascending order.

    The stream must be freshly opened or, in a seekable file, at any position before anything has been decoded.
    """
    remaining = set(plan.target_pts.tolist())
    frames: Iterator[tuple[int | None, VideoFrame]] = (
        decode_numbered(stream, index, tally)
        if plan.is_sent is None
        else ((frame.pts, frame) for frame in _planned(stream, index, plan.is_sent, plan, tally))
    )
    for pts, frame in frames:
        if pts is not None and pts in remaining:
            remaining.remove(pts)
            yield pts, frame
        if plan.is_sent is None and not remaining:
            return


def _planned(
    stream: VideoStream, index: VideoIndex, is_sent: BoolArray, plan: DecodePlan, tally: DecodeTally
) -> Iterator[VideoFrame]:
    """Send the planned packets to the decoder, and yield the intact frames.

    Decoding ends early if a seek does not reach the exact packet in the index, or if the packets end.
    """
    container = stream.container
    assert isinstance(container, InputContainer)
    packets = packets_of(stream)
    read_up_to = -1
    for target in np.flatnonzero(is_sent).tolist():
        ordinal = int(index.ordinals[target])
        if target in plan.restarts:
            # Before the seek: this outputs the frames still held in the decoder.
            yield from _frames_of(stream, None, tally)
            stream.codec_context.flush_buffers()
        if target in plan.seeks:
            pts = int(index.pts[target])
            container.seek(pts, stream=stream)
            packets = packets_of(stream)
            packet = next((packet for packet in packets if packet.pts == pts), None)
        else:
            packet = next(islice(packets, ordinal - read_up_to - 1, None), None)
        if packet is None:
            break
        read_up_to = ordinal
        yield from _frames_of(stream, packet, tally)
    yield from _frames_of(stream, None, tally)


def _frames_of(stream: VideoStream, packet: "Packet[Any] | None", tally: DecodeTally) -> Iterator[VideoFrame]:
    try:
        frames = stream.codec_context.decode(packet)
    except MemoryError:  # libav's MemoryError is also an FFmpegError
        raise
    except av.FFmpegError:
        tally.num_errors += 1
        return
    tally.num_decoded += len(frames)
    for frame in frames:
        if frame.is_corrupt:
            tally.num_errors += 1
        else:
            yield frame


def index_from_content(stream: VideoStream, *, max_frames: int | None = None) -> VideoIndex:
    """Return the index of a freshly opened stream by decoding all of it, for files without valid packet times.

    Decoders output pictures in presentation order. In a raw stream (no container) whose pictures all have durations,
    times are running sums of the durations. Otherwise, times that are out of order are sorted. If any are missing or
    equal, the pictures are spaced evenly at the stream's frame rate. If the container stores only the decode order, as
    AVI does, times are late by the decoder's delay, which is subtracted. The index is empty if no frame can be decoded.

    Raises:
        VideoPermanentError: the video has more than `max_frames` frames.
    """
    pts: list[int | None] = []
    durations: list[int] = []
    is_keyframe: list[bool] = []
    for frame in decode_all(stream, DecodeTally()):
        if max_frames is not None and len(pts) >= max_frames:
            raise VideoPermanentError(
                VideoErrorKind.LIMIT_EXCEEDED,
                f"the video has more frames than platform.extraction.limits.max_source_frames={max_frames}; "
                "raise this limit to accept it",
            )
        pts.append(frame.pts)
        durations.append(frame.duration or 0)
        is_keyframe.append(bool(frame.key_frame))
    times = sorted({value for value in pts if value is not None})
    time_base = Fraction(stream.time_base or 1)
    if is_bare_stream(stream) and all(durations):
        # libavformat's guess for the first pictures may be one picture late, or skip one.
        times = [0, *accumulate(durations[:-1])]
    elif len(times) < len(pts):
        times = list(range(len(pts)))
        time_base = 1 / Fraction(stream.guessed_rate or stream.average_rate or _USUAL_RATE)
    elif times and not stores_presentation_times(stream):
        # Guessed by libavformat from the decode order, and therefore late by the decoder's delay.
        delay = times[0] - (stream.start_time or 0)
        times = [value - delay for value in times]
    return VideoIndex(
        time_base=time_base,
        pts=np.array(times, dtype=np.int64),
        is_keyframe=np.array(is_keyframe, dtype=np.bool_),
        is_droppable=np.zeros(len(pts), np.bool_),
        is_shown=np.ones(len(pts), np.bool_),
        size_bytes=np.zeros(len(pts), np.int64),
        is_from_content=True,
    )
