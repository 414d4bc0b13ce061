"""Files and responses that are not complete videos, each with the reasons for which they may be refused."""

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster_tests.real_size.kinds import AV1, B_FRAMES, H264, MPEG4, VP8
from data_miner_dagster_tests.real_size.pictures import Picture
from data_miner_dagster_tests.real_size.writing import Encoding, boxes_of, write_clip, write_sound
from data_miner_dagster_tests.sites.hostile_server import Answer, cut_off, page, status, whole_file

_K = VideoErrorKind
_RATE: Final = Fraction(25)
NUM_PICTURES: Final = 50

MakeFile = Callable[[Path, Sequence[Picture]], None]
MakeAnswer = Callable[[bytes], Answer]


@dataclass(frozen=True, slots=True)
class BadKind:
    """A kind of file, or of response to a request for a file, that must be refused for one of `reasons`."""

    name: str
    suffix: str
    reasons: frozenset[VideoErrorKind]
    make: MakeFile
    answer: MakeAnswer | None = None  # if None and the file is served, it is served as it is
    is_served: bool = False


def _bytes(content: bytes) -> MakeFile:
    def make(path: Path, _pictures: Sequence[Picture]) -> None:
        path.write_bytes(content)

    return make


def _changed(encoding: Encoding, change: Callable[[bytes], bytes]) -> MakeFile:
    def make(path: Path, pictures: Sequence[Picture]) -> None:
        write_clip(path, pictures, _RATE, encoding)
        path.write_bytes(change(path.read_bytes()))

    return make


def _first(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


def _over_samples(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return a function that changes the content of an mp4's `mdat` and leaves its index unchanged."""

    def changed(content: bytes) -> bytes:
        whole = bytearray(content)
        for start, size, kind in boxes_of(content, 0, len(content)):
            if kind == b"mdat":
                whole[start + 8 : start + size] = change(content[start + 8 : start + size])
        return bytes(whole)

    return changed


def _flipped(content: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in content)


def _picture_bytes(path: Path, pictures: Sequence[Picture]) -> None:
    Image.fromarray(pictures[0]).save(path, "PNG")


def _archive(path: Path, _pictures: Sequence[Picture]) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("video.mkv", b"nothing")
    path.write_bytes(content.getvalue())


def _sound_with_cover(path: Path, _pictures: Sequence[Picture]) -> None:
    write_sound(path, with_cover=True)


def _sound(path: Path, _pictures: Sequence[Picture]) -> None:
    write_sound(path)


_INDEX_FIRST: Final = Encoding(options=B_FRAMES.options, mux_options={"movflags": "faststart"})
_PAGE: Final = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
_PLAYLIST: Final = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
_NOISE: Final = np.random.default_rng(5).integers(0, 255, 40_000, np.uint8).tobytes()
_CLIP: Final = _changed(H264, _first(1.0))


def _only(*kinds: VideoErrorKind) -> frozenset[VideoErrorKind]:
    return frozenset(kinds)


BAD_KINDS: Final[tuple[BadKind, ...]] = (
    BadKind("empty", "mp4", _only(_K.EMPTY_FILE), _bytes(b"")),
    BadKind("mp4 without its index", "mp4", _only(_K.TRUNCATED), _changed(B_FRAMES, _first(0.5))),
    BadKind("mp4 with its index first, cut", "mp4", _only(_K.TRUNCATED), _changed(_INDEX_FIRST, _first(0.6))),
    BadKind("page as mp4", "mp4", _only(_K.NOT_A_VIDEO), _bytes(_PAGE.encode())),
    BadKind("playlist as mp4", "mp4", _only(_K.NOT_A_VIDEO), _bytes(_PLAYLIST.encode())),
    BadKind("sound only", "mp4", _only(_K.NO_VIDEO_STREAM), _sound),
    BadKind("not there", "mp4", _only(_K.REMOVED), _CLIP, answer=lambda _: status(404), is_served=True),
    BadKind("mkv, cut", "mkv", _only(_K.TRUNCATED), _changed(H264, _first(0.5))),
    BadKind("every byte flipped", "mp4", _only(_K.UNDECODABLE), _changed(H264, _over_samples(_flipped))),
    BadKind(
        "served page", "mp4", _only(_K.NOT_A_VIDEO, _K.UNSUPPORTED), _CLIP, answer=lambda _: page(_PAGE), is_served=True
    ),
    BadKind("noise", "mp4", _only(_K.NOT_A_VIDEO), _bytes(_NOISE)),
    BadKind("sound with a cover", "mp4", _only(_K.NO_VIDEO_STREAM), _sound_with_cover),
    BadKind(
        "served without its end",
        "mp4",
        _only(_K.CUT_OFF),
        _CLIP,
        answer=lambda content: cut_off(content, 0.0),
        is_served=True,
    ),
    BadKind("avi, cut", "avi", _only(_K.TRUNCATED), _changed(MPEG4, _first(0.5))),
    BadKind("served cut mp4", "mp4", _only(_K.TRUNCATED), _changed(_INDEX_FIRST, _first(0.4)), is_served=True),
    BadKind("text as mkv", "mkv", _only(_K.NOT_A_VIDEO), _bytes(b"Buy milk.\nCall Anna.\n" * 40)),
    BadKind(
        "concatenation script as mkv", "mkv", _only(_K.NOT_A_VIDEO), _bytes(b"ffconcat version 1.0\nfile /etc/passwd\n")
    ),
    BadKind("gone", "mp4", _only(_K.REMOVED), _CLIP, answer=lambda _: status(410), is_served=True),
    BadKind("flv, cut", "flv", _only(_K.TRUNCATED), _changed(H264, _first(0.5))),
    BadKind("all samples zero", "mp4", _only(_K.UNDECODABLE), _changed(AV1, _over_samples(lambda c: bytes(len(c))))),
    BadKind("archive as mkv", "mkv", _only(_K.NOT_A_VIDEO), _archive),
    BadKind("webm, cut", "webm", _only(_K.TRUNCATED), _changed(VP8, _first(0.5))),
    BadKind("picture as mp4", "mp4", _only(_K.NOT_A_VIDEO), _picture_bytes),
    BadKind(
        "served playlist as mp4",
        "mp4",
        _only(_K.NOT_A_VIDEO, _K.UNSUPPORTED, _K.TRANSIENT),
        _CLIP,
        answer=lambda _: whole_file(_PLAYLIST.encode()),
        is_served=True,
    ),
)
