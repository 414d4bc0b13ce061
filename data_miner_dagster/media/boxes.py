"""MP4 and QuickTime files as boxes: is one cut off? Reads headers alone; nothing is decoded."""

import struct
from pathlib import Path
from typing import Final

_FIRST: Final = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid"})
_MOST_BOXES: Final = 10_000
"""Of fragmented files, each fragment is two; what has more is not looked at further."""


def is_cut_off(path: Path) -> bool:
    """Return whether a file of boxes ends within one: bytes that it promises are missing. False of any other file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        for _ in range(_MOST_BOXES):
            if position == size:
                return False
            file.seek(position)
            header = file.read(16)
            if position == 0 and header[4:8] not in _FIRST:
                return False
            if len(header) < 8:
                return True
            length = struct.unpack(">I", header[:4])[0]
            if length == 0:  # to the end of the file
                return False
            if length == 1:  # its length follows in 64 bits
                if len(header) < 16:
                    return True
                length = struct.unpack(">Q", header[8:16])[0]
            if length < 8:
                return False
            position += length
            if position > size:
                return True
    return False
