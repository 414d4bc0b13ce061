"""Read a foreign file from start to end, to find its actual content whatever its header says.

The cost is proportional to the number of packets, never to the times that they claim.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data_miner_dagster.media.containers import CONTAINER_OPTIONS, moving_pictures, packets_in

_MOST_STEP_SECONDS: Final = 60.0
"""The maximum step between packets of a stream. A longer or negative step means that recordings were joined."""
_MOST_SILENT_PACKETS: Final = 5
_MOST_SILENT_SHARE: Final = 0.02
"""The share of packets at the end that may yield no frame, because the recording was switched off. A file
may end with up to `_MOST_SILENT_PACKETS` such packets even if they exceed this share.
"""


@dataclass(slots=True)
class _Played:
    """The playing time of one stream, summed up step by step without the gaps where recordings were joined."""

    last: float | None = None
    step: float = 0.0
    seconds: float = 0.0

    def add(self, time: float | None, duration: float) -> None:
        if time is None or self.last is None:
            self.seconds += duration if time is None else 0.0
        else:
            step = time - self.last
            if 0 <= step <= _MOST_STEP_SECONDS:
                self.step = step or self.step
                self.seconds += step
            else:
                self.seconds += duration or self.step
        if time is not None:
            self.last, self.step = time, duration or self.step


@dataclass(slots=True)
class Reading:
    """The content of a file, as measured from the packets read so far."""

    start_seconds: float | None = None  # where the header's duration begins, or None if the whole file is read
    end_seconds: float = 0.0  # the end of the last packet shown, by the packets' own times
    start_byte: int = 0  # first byte of the content read
    end_byte: int = 0
    num_pictures: int = 0  # number of packets of the main video stream
    last_keyframe: int = 0  # the last keyframe's ordinal among those packets
    is_damaged_at_end: bool = False  # the last packet is incomplete
    _played: dict[int, _Played] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.end_seconds = self.start_seconds or 0.0

    @property
    def played_seconds(self) -> float:
        """The playing time of the longest stream, without the gaps where recordings were joined."""
        return max((played.seconds + played.step for played in self._played.values()), default=0.0)

    def add(self, packet: "Packet[Any]", *, is_picture: bool = False) -> None:
        """Add a packet to the measurements. `is_picture` is True for packets of the main video stream."""
        base = float(packet.time_base) if packet.time_base else 0.0
        duration = (packet.duration or 0) * base
        if packet.pts is not None and not packet.is_discard:  # packets hidden by an edit list are not shown
            self.end_seconds = max(self.end_seconds, packet.pts * base + duration)
        if packet.pos is not None and packet.pos >= 0:
            self.start_byte = min(self.start_byte or packet.pos, packet.pos)
            self.end_byte = max(self.end_byte, packet.pos + packet.size)
        self.is_damaged_at_end = packet.is_corrupt
        if packet.stream.type in ("video", "audio"):
            time = packet.dts if packet.dts is not None else packet.pts
            played = self._played.setdefault(packet.stream_index, _Played())
            played.add(None if time is None else time * base, duration)
        if is_picture:
            self.last_keyframe = self.num_pictures if packet.is_keyframe else self.last_keyframe
            self.num_pictures += 1


def frames_in(packets: "Iterable[Packet[Any] | None]", stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield the frames that are decoded from packets of a stream. Undecodable packets are ignored.

    A packet of None flushes the decoder.
    """
    for packet in packets:
        try:
            yield from stream.codec_context.decode(packet)
        except MemoryError:  # libav's MemoryError is also an FFmpegError
            raise
        except av.FFmpegError:
            continue


def read_through(path: Path) -> Reading:
    """Read all packets of a file without decoding them, and return the measurements.

    Raises:
        av.FFmpegError: the file cannot be opened.
    """
    with av.open(str(path), options=dict(CONTAINER_OPTIONS)) as container:
        stream = moving_pictures(container)
        reading = Reading()
        for packet in packets_in(container):
            reading.add(packet, is_picture=packet.stream is stream)
        return reading


def decodes_at_its_end(path: Path, reading: Reading) -> bool:
    """Return whether frames near the end can be decoded, from the last keyframe or else from the start.

    `reading` is the result of `read_through`. The file must have a video stream.

    Raises:
        av.FFmpegError: the file cannot be opened.
    """
    return any(
        num_silent is not None and num_silent <= max(_MOST_SILENT_PACKETS, _MOST_SILENT_SHARE * reading.num_pictures)
        for num_silent in (_num_silent(path, start) for start in dict.fromkeys((reading.last_keyframe, 0)))
    )


def _num_silent(path: Path, start: int) -> int | None:
    """Decode from packet `start`. Return the number of packets after the last frame, or None if there is no frame.

    Packets are counted by their times, because a decoder delays frames. Without times, the packets since the
    decoder's last output are counted.
    """
    with av.open(str(path), options=dict(CONTAINER_OPTIONS)) as container:
        stream = moving_pictures(container)
        assert stream is not None
        times: list[int] = []
        last_frame: int | None = None
        num_frames = num_silent = 0
        for packet in chain(islice(packets_in(container, stream), start, None), [None]):
            num_silent += 1
            if packet is not None and packet.pts is not None:
                times.append(packet.pts)
            for frame in frames_in([packet], stream):
                num_frames, num_silent = num_frames + 1, 0
                if frame.pts is not None:
                    last_frame = frame.pts if last_frame is None else max(last_frame, frame.pts)
        if last_frame is not None and times:
            return sum(time > last_frame for time in times)
        return num_silent if num_frames else None
