"""Check whether a file is as long as its own structure says.

This is the cheapest and most reliable test for truncation. Only sizes are checked, not durations, because a header's
duration may be too long even if nothing is missing. Only the outermost structure is read, a few bytes per box, and
the duration in an ASF header.
"""

import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

_MOST_BOXES: Final = 1_000_000
_RIFF_UNFINISHED: Final = frozenset({0, 0xFFFFFFFF})
"""Sizes that a recorder writes as placeholders at the start, and may never replace."""
_EBML_SEGMENT: Final = b"\x18\x53\x80\x67"
_ASF_HEADER: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_IS_BROADCAST: Final = 1
_MOST_ASF_HEADER_BYTES: Final = 1 << 20


class FileEnd(StrEnum):
    """The completeness of a file according to its structure."""

    WHOLE = "whole"
    CUT = "cut"
    UNKNOWN = "unknown"  # the format or this file does not say


def file_end(path: Path) -> FileEnd:
    """Return whether a file is as long as its structure says, for ISO media, Matroska, RIFF (AVI), FLV and ASF.

    The result is `FileEnd.UNKNOWN` for other formats, for a file that does not state its length, and for an FLV file
    that may have been cut off.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
            return _of_iso_media(file, size)
        if head.startswith(b"\x1a\x45\xdf\xa3"):
            return _of_matroska(file, size)
        if head.startswith(b"RIFF"):
            said = int.from_bytes(head[4:8], "little")
            return FileEnd.UNKNOWN if said in _RIFF_UNFINISHED else _judged(said + 8, size)
        if head.startswith(b"FLV"):
            return _of_flv(file, size)
        if head.startswith(_ASF_HEADER):
            return _of_asf(file, size)
    return FileEnd.UNKNOWN


def _judged(end: int, size: int) -> FileEnd:
    return FileEnd.CUT if end > size else FileEnd.WHOLE


def _of_iso_media(file: BinaryIO, size: int) -> FileEnd:
    """Return the completeness of ISO media (mp4, mov). The file is whole even if padding at its end is cut off.

    Source: ISO/IEC 14496-12, 4.2.
    """
    kinds: set[bytes] = set()
    for kind, end in _boxes(file, size):
        if end > size:
            return FileEnd.WHOLE if kind in (b"free", b"skip") and {b"mdat", b"moov"} <= kinds else FileEnd.CUT
        if end == size:
            return FileEnd.WHOLE
        kinds.add(kind)
    return FileEnd.UNKNOWN


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and end offset of each box up to the first invalid one. The last box may end after the file."""
    start = 0
    for _ in range(_MOST_BOXES):
        file.seek(start)
        head = file.read(16)
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big") if len(head) == 16 else size, 16
        elif length == 0 and len(head) >= 8:  # to the end of the file
            length = size - start
        if len(head) < 8:  # incomplete header
            length = size
        elif length < header:
            return
        start += length
        yield head[4:8], start
        if start >= size:
            return


def _of_matroska(file: BinaryIO, size: int) -> FileEnd:
    """Return the completeness of Matroska. The segment contains everything. During a recording, its size is all ones.

    Source: RFC 8794, 6.
    """
    file.seek(4)
    header = _ebml_size(file)
    if header is None:
        return FileEnd.UNKNOWN
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _EBML_SEGMENT:
        return FileEnd.UNKNOWN
    segment = _ebml_size(file)
    return FileEnd.UNKNOWN if segment is None else _judged(file.tell() + segment, size)


def _ebml_size(file: BinaryIO) -> int | None:
    """Return the EBML size at the current position, or None if it is unknown or invalid."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    value = int.from_bytes(first + rest, "big") & ((1 << 7 * length) - 1)
    return None if len(rest) != length - 1 or value == (1 << 7 * length) - 1 else value


def _of_flv(file: BinaryIO, size: int) -> FileEnd:
    """Return the completeness of FLV: whole if the size after the last tag leads back to that tag, otherwise unknown.

    Source: Adobe Flash Video File Format 10.1, E.3 and E.4.1.
    """
    if size < 9 + 4 + 11 + 4:
        return FileEnd.UNKNOWN
    file.seek(size - 4)
    length = int.from_bytes(file.read(4), "big")
    if not 11 <= length <= size - 9 - 4 - 4:
        return FileEnd.UNKNOWN
    file.seek(size - 4 - length)
    head = file.read(4)
    is_tag = head[0] & 0x1F in (8, 9, 18) and int.from_bytes(head[1:], "big") + 11 == length
    return FileEnd.WHOLE if is_tag else FileEnd.UNKNOWN


def _of_asf(file: BinaryIO, size: int) -> FileEnd:
    """Return the completeness of ASF, whose header contains the file's size except in a broadcast."""
    properties = _asf_properties(file)
    if properties is None:
        return FileEnd.UNKNOWN
    said = int.from_bytes(properties[40:48], "little")
    return _judged(said, size) if said else FileEnd.UNKNOWN


def asf_seconds(path: Path) -> float | None:
    """Return the duration in an ASF header, in seconds, or None if the header is missing or the file is a broadcast.

    libavformat reports a guess instead if the size of the file differs from the size in the header.
    """
    with path.open("rb") as file:
        properties = _asf_properties(file)
    if properties is None:
        return None
    ticks, preroll = (int.from_bytes(properties[start : start + 8], "little") for start in (64, 80))
    return ticks / 1e7 - preroll / 1e3


def _asf_properties(file: BinaryIO) -> bytes | None:
    """Return the header object with size and duration, or None if it is missing or the file is a broadcast.

    Source: ASF 01.20.03, 3.2.
    """
    file.seek(0)
    head = file.read(_MOST_ASF_HEADER_BYTES)
    found = head.find(_ASF_FILE_PROPERTIES) if head.startswith(_ASF_HEADER) else -1
    properties = head[found : found + 92]
    return None if found < 0 or len(properties) < 92 or properties[88] & _ASF_IS_BROADCAST else properties
