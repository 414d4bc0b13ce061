"""Tests what a packet's first slice states, by decoding: no other picture changes without the droppable packets."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet

from data_miner_dagster.media.bitstreams import PacketInspector
from data_miner_dagster_tests.support.barcode_clips import make_clip

X265 = "log-level=none:pools=none:frame-threads=1"
TWO_OF_THREE = [2, 3, 5, 6, 8, 9, 11, 12]  # in the file, each P picture precedes the two B pictures shown before it
CLIPS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264 with lengths": ("a.mp4", "libx264", {"bf": "2", "x264-params": "b-pyramid=none:b-adapt=0"}),
    "h264 with start codes": ("a.h264", "libx264", {"bf": "2", "x264-params": "b-pyramid=none:b-adapt=0"}),
    "h264 with a pyramid": ("a.mp4", "libx264", {"bf": "3", "x264-params": "b-pyramid=normal:b-adapt=0"}),
    "hevc with lengths": ("a.mp4", "libx265", {"x265-params": f"{X265}:bframes=2:b-adapt=0:b-pyramid=0"}),
    "hevc with start codes": ("a.hevc", "libx265", {"x265-params": f"{X265}:bframes=2:b-adapt=0:b-pyramid=0"}),
    "mpeg2": ("a.mpg", "mpeg2video", {"bf": "2", "b_strategy": "0"}),
    "mpeg4": ("a.mp4", "mpeg4", {"bf": "2", "b_strategy": "0"}),
}


DROPPABLE: dict[str, list[int]] = {
    "h264 with lengths": TWO_OF_THREE,
    "h264 with start codes": TWO_OF_THREE,
    "h264 with a pyramid": [3, 4, 7, 8, 11, 12],  # the middle B picture of three is a reference for the others
    "hevc with lengths": TWO_OF_THREE,
    "hevc with start codes": TWO_OF_THREE,
    "mpeg2": TWO_OF_THREE,
    "mpeg4": [],  # this codec is not inspected, and its demuxer marks no packets
}


def clip(folder: Path, kind: str) -> Path:
    name, codec, options = CLIPS[kind]
    return make_clip(folder / name, num_frames=13, codec=codec, options=options, frame_rate=Fraction(25))


def packets_of(path: Path) -> tuple[PacketInspector, list["Packet[Any]"]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return PacketInspector(stream), [packet for packet in container.demux(stream) if packet.size]


def pictures_of(path: Path, without: Sequence[int] = ()) -> list[bytes]:
    """Return the decoded pictures in display order, leaving out the packets with the numbers in `without`."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        packets = [packet for number, packet in enumerate(container.demux(stream)) if number not in without]
        return [frame.to_ndarray().tobytes() for packet in packets for frame in packet.decode()]


@pytest.mark.parametrize("kind", CLIPS)
def test_is_droppable__no_other_picture_changes_without_it(tmp_path: Path, kind: str) -> None:
    path = clip(tmp_path, kind)
    inspector, packets = packets_of(path)
    droppable = [number for number, packet in enumerate(packets) if inspector.is_droppable(packet)]
    assert droppable == DROPPABLE[kind]
    whole, rest = pictures_of(path), pictures_of(path, without=droppable)
    assert len(set(whole)) == len(packets)
    assert rest == [picture for picture in whole if picture in rest]
    assert len(rest) == len(packets) - len(droppable)


@pytest.mark.parametrize(
    ("codec", "options", "expected"),
    [
        ("libx264", {"x264-params": "open-gop=0:bframes=2:b-adapt=0"}, [True, True, True]),
        ("libx264", {"x264-params": "open-gop=1:bframes=2:b-adapt=0"}, [True, False, False]),
        ("libx265", {"x265-params": f"{X265}:open-gop=0:bframes=0"}, [True, True, True]),
        ("libx265", {"x265-params": f"{X265}:open-gop=1:bframes=2:b-adapt=0"}, [True, False, False]),
        ("mpeg4", {}, [False, False, False]),
    ],
)
def test_is_instant_refresh__keyframes_of_closed_groups_alone(
    tmp_path: Path, codec: str, options: dict[str, str], expected: list[bool]
) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=30, gop=10, codec=codec, options=options, frame_rate=Fraction(25))
    inspector, packets = packets_of(path)
    keyframes = [packet for packet in packets if packet.is_keyframe]
    assert [inspector.is_instant_refresh(packet) for packet in keyframes] == expected
    assert not any(inspector.is_instant_refresh(packet) for packet in packets if not packet.is_keyframe)


@pytest.mark.parametrize(("layers", "expected"), [(1, False), (3, True)])
def test_has_temporal_layers__is_known_once_one_was_seen(tmp_path: Path, layers: int, expected: bool) -> None:
    options = {"x265-params": f"{X265}:bframes=3:b-adapt=0:temporal-layers={layers}"}
    inspector, packets = packets_of(make_clip(tmp_path / "a.mp4", num_frames=9, codec="libx265", options=options))
    assert not inspector.has_temporal_layers
    for packet in packets:
        inspector.is_droppable(packet)
    assert inspector.has_temporal_layers is expected


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ([b"\x01\x9a"], True),  # nal_ref_idc 0
        ([b"\x21\x9a"], False),  # 1
        ([b"\x41\x9a"], False),
        ([b"\x61\x9a"], False),
        ([b"\x06\x05\x01", b"\x01\x9a"], True),  # the slice follows a message (SEI)
        ([b"\x06\x05\x01", b"\x21\x9a"], False),
    ],
)
def test_is_droppable__by_the_first_unit_of_a_picture(tmp_path: Path, units: list[bytes], expected: bool) -> None:
    with_lengths = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
    assert packets_of(clip(tmp_path, "h264 with lengths"))[0].is_droppable(Packet(with_lengths)) is expected
    with_start_codes = b"".join(b"\0\0\1" + unit for unit in units)
    assert packets_of(clip(tmp_path, "h264 with start codes"))[0].is_droppable(Packet(with_start_codes)) is expected


@pytest.mark.parametrize("kind", [kind for kind in CLIPS if kind != "mpeg4"])
def test_inspector__in_doubt_the_answer_is_no(tmp_path: Path, kind: str) -> None:
    inspector, _ = packets_of(clip(tmp_path, kind))
    for content in (b"", b"\0", b"\0\0\1", b"\0\0\0\xff\6", b"\0\0\0\1\6" * 3, b"\xff" * 5000):
        packet = Packet(content)
        assert not inspector.is_droppable(packet), content
        assert not inspector.is_instant_refresh(packet), content
