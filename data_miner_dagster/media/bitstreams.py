"""Parse the first bytes of coded pictures, to find clean starting points and pictures that no other picture refers to.

When in doubt, the methods of `PacketInspector` return False: unnecessary decoding costs only time, but a wrongly
skipped picture yields wrong results.
"""

from typing import Any, Final

from av.packet import Packet
from av.video.stream import VideoStream

_HEAD_BYTES: Final = 4096
_HEVC_SUB_LAYER_NON_REFERENCE: Final = frozenset({0, 2, 4, 6, 8, 10, 12, 14})
"""Types of NAL units whose picture no other picture in the same temporal layer refers to.

Source: ITU-T H.265, table 7-1.
"""


class PacketInspector:
    """Classifies the packets of one stream by the header of their first slice."""

    def __init__(self, stream: VideoStream) -> None:
        codec = stream.codec_context
        self._codec = codec.name
        self._length_size = _length_size(self._codec, codec.extradata)
        self.has_temporal_layers = False
        """True once a packet of a higher temporal layer has been found. HEVC packets must then not be dropped, since
        higher layers may refer to lower ones.
        """

    def is_instant_refresh(self, packet: "Packet[Any]") -> bool:
        """Return whether a packet is an IDR picture without leading pictures.

        All pictures that follow it in the file are also shown after it. The result is False for codecs other than H.264
        and HEVC.

        Source: ITU-T H.264, table 7-1 (5: IDR); ITU-T H.265, table 7-1 (20: IDR_N_LP).
        """
        header = self._first_slice_header(packet) if self._codec in ("h264", "hevc") else None
        if header is None:
            return False
        return header[0] & 0x1F == 5 if self._codec == "h264" else header[0] >> 1 & 0x3F == 20

    def is_droppable(self, packet: "Packet[Any]") -> bool:
        """Return whether a packet contains a picture that no other picture refers to."""
        if self._codec == "h264":
            header = self._first_slice_header(packet)
            # nal_ref_idc is 0. Source: ITU-T H.264, 7.4.1
            return header is not None and header[0] & 0x60 == 0
        if self._codec == "hevc":
            header = self._first_slice_header(packet)
            if header is None:
                return False
            if header[1] & 7 != 1:
                self.has_temporal_layers = True
            return header[0] >> 1 & 0x3F in _HEVC_SUB_LAYER_NON_REFERENCE
        if self._codec == "mpeg2video":
            return _is_mpeg2_b_picture(packet)
        return packet.is_disposable

    def _first_slice_header(self, packet: "Packet[Any]") -> tuple[int, int] | None:
        """Return the two header bytes of the first NAL unit that belongs to a picture, or None if no unit does."""
        length_size = self._length_size
        if length_size is None:
            return self._first_slice_after_start_code(packet)
        content = memoryview(packet)
        start, end = length_size, len(content)
        while start + 2 <= end:
            if self._is_slice(content[start]):
                return content[start], content[start + 1]
            start += int.from_bytes(content[start - length_size : start], "big") + length_size
        return None

    def _first_slice_after_start_code(self, packet: "Packet[Any]") -> tuple[int, int] | None:
        head = bytes(memoryview(packet)[:_HEAD_BYTES])
        position = -3
        while (position := head.find(b"\x00\x00\x01", position + 3)) >= 0:
            header = head[position + 3 : position + 5]
            if len(header) == 2 and self._is_slice(header[0]):
                return header[0], header[1]
        return None

    def _is_slice(self, first_byte: int) -> bool:
        if self._codec == "h264":
            return 1 <= first_byte & 0x1F <= 5
        return (first_byte >> 1 & 0x3F) < 32


def _length_size(codec: str, extradata: bytes | None) -> int | None:
    """Return the size in bytes of each NAL unit's length field, or None if start codes separate the units.

    Source: ISO/IEC 14496-15, 5.3.3.1 (avcC) and 8.3.3.1 (hvcC).
    """
    if extradata is None or len(extradata) < 23 or extradata[0] != 1:
        return None
    return (extradata[21 if codec == "hevc" else 4] & 3) + 1


def _is_mpeg2_b_picture(packet: "Packet[Any]") -> bool:
    """Return whether a packet is an MPEG-2 B picture.

    Source: ITU-T H.262, 6.2.3: picture start code, 10 bits of temporal reference, 3 bits of coding type.
    """
    head = bytes(memoryview(packet)[:_HEAD_BYTES])
    position = head.find(b"\x00\x00\x01\x00")
    return 0 <= position < len(head) - 5 and head[position + 5] >> 3 & 7 == 3
