"""Videos that are files on this machine: found, keyed by content, brought under the root."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from data_miner_dagster.domain.errors import SourceError, VideoPermanentError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.keys import FRAMES_PREFIX, video_file_name
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.sites.folders import folders_below, is_glob, located, matches_of

# fmt: off
VIDEO_ENDINGS: Final = frozenset((
    "264", "265", "3g2", "3gp", "asf", "avc", "avi", "dif", "divx", "dv", "f4v", "flv", "gif", "h264",
    "h265", "h26l", "hevc", "ism", "ismv", "ivf", "m1v", "m2t", "m2ts", "m2v", "m4v", "mj2", "mjpeg",
    "mjpg", "mk3d", "mkv", "mov", "mp4", "mpeg", "mpg", "mpv", "mts", "mxf", "nut", "obu", "ogg", "ogm",
    "ogv", "psp", "ts", "vc1", "vob", "webm", "wmv", "wtv", "y4m",
))
# fmt: on
"""What is taken for a video in a folder or by a glob; a file that is named itself is always tried.

Source: the extensions that libavformat gives to the formats of `media.containers.CONTAINER_OPTIONS`, without those of
sound, subtitles and pictures, and a few that are in use besides (divx, mpv, ogm).
"""
PICTURE_ENDINGS: Final = frozenset({"bmp", "jpeg", "jpg", "png", "webp"})
"""What is taken for a picture in a folder of frames."""
_MOST_REASONS: Final = 8


@dataclass(frozen=True, slots=True)
class Found:
    """What an entry stands for, and how much was passed over on the way, by reason (an ending, or words)."""

    paths: list[Path]
    passed_over: Mapping[str, int]

    @property
    def remark(self) -> str:
        """What was passed over, for people: `6 files passed over: .txt 5, .swf 1`; empty if nothing was."""
        total = sum(self.passed_over.values())
        if not total:
            return ""
        by_count = sorted(self.passed_over.items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{reason} {count}" for reason, count in by_count[:_MOST_REASONS])
        more = f", and {len(by_count) - _MOST_REASONS} other reasons" if len(by_count) > _MOST_REASONS else ""
        return f"{total} file{'' if total == 1 else 's'} passed over: {shown}{more}"


def _ending(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _why_not(path: Path, endings: Collection[str] | None) -> str | None:
    """Return why a path is passed over, None if it is taken; `endings`: None for any."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return f"not UTF-8 ({os.fsencode(path.name).decode(errors='backslashreplace')})"
    if endings is not None and _ending(path) not in endings:
        ending = printable(_ending(path))
        return f".{ending}" if ending else "no ending"
    return None if path.is_file() else "no file, or a link to none"


def _sorted_out(paths: Iterable[Path], endings: Collection[str] | None) -> Found:
    """Return those of the paths that are taken, at their real folders, sorted, each once. Hidden ones do not count."""
    taken: set[Path] = set()
    passed_over: Counter[str] = Counter()
    real_folders: dict[Path, Path] = {}
    for path in paths:
        if (reason := _why_not(path, endings)) is not None:
            if not path.name.startswith("."):
                passed_over[reason] += 1
        elif not path.name.startswith("."):
            if path.parent not in real_folders:
                real_folders[path.parent] = path.parent.resolve()
            real = real_folders[path.parent] / path.name
            if _is_utf8(real):
                taken.add(real)
            else:
                passed_over["in a folder whose name is not UTF-8"] += 1
    return Found(sorted(taken), passed_over)


def _is_utf8(path: Path) -> bool:
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _files_below(folder: Path) -> list[Path]:
    return [path for _, files in folders_below(folder) for path in files]


def list_local_videos(entry: str, base_folder: Path) -> Found:
    """Return the absolute paths that one path, folder or glob stands for, sorted, each once; and what it passes over.

    Args:
        entry: a file (taken whatever it is), a folder (videos below it), or a glob (videos among what it matches;
            `**` descends). `~` is the home folder; relative entries start at `base_folder`.
        base_folder: absolute.

    Raises:
        SourceError: the entry names nothing, or a folder without a video. Never without a path.
    """
    try:
        path = located(entry, base_folder)
        if path.is_file():
            return _sorted_out_named(entry, path)
        if path.is_dir():
            found = _sorted_out(_files_below(path), VIDEO_ENDINGS)
        elif is_glob(entry):
            found = _of_glob(entry, base_folder)
        else:
            raise SourceError(f"{entry}: there is no such file or folder ({path})")
    except (OSError, ValueError) as error:  # ValueError: a NUL
        raise SourceError(f"{entry}: {getattr(error, 'strerror', None) or error}") from error
    if not found.paths:
        remark = f"; {found.remark}" if found.remark else ""
        raise SourceError(f"{entry}: no video found below or matching {path}{remark}")
    return found


def _sorted_out_named(entry: str, path: Path) -> Found:
    real = path.parent.resolve() / path.name
    if not _is_utf8(real):
        shown = os.fsencode(real).decode(errors="backslashreplace")
        raise SourceError(f"{entry}: rename it: its path is not UTF-8 ({shown})")
    return Found([real], {})


def _of_glob(entry: str, base_folder: Path) -> Found:
    # `**` names every folder by itself: only its last match is a folder to search
    descends = "**" in entry.split("/")
    suffix = Path(entry).suffix
    endings = None if suffix and not is_glob(suffix) else VIDEO_ENDINGS  # None: the glob names the ending
    named, below = list[Path](), list[Path]()
    for match in matches_of(entry, base_folder):
        if not match.is_dir():
            named.append(match)
        elif not descends:
            below.extend(_files_below(match))
    one, other = _sorted_out(named, endings), _sorted_out(below, VIDEO_ENDINGS)
    return Found(sorted({*one.paths, *other.paths}), Counter(one.passed_over) + Counter(other.passed_over))


def list_frames(folder: Path) -> list[Path]:
    """Return the pictures directly inside a folder, by name, numbers in names by value; empty if there are none."""
    return _pictures_in(folder)[0] if folder.is_dir() else []


def _pictures_in(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the pictures in a folder, in order, and how much else is there, by reason."""
    pictures, others = list[Path](), Counter[str]()
    for path in folder.iterdir():
        if path.name.startswith(".") or path.is_dir():
            continue
        if (reason := _why_not(path, PICTURE_ENDINGS)) is None:
            pictures.append(path)
        else:
            others[reason] += 1
    return sorted(pictures, key=_natural_order), others


def _natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    # frame_2 before frame_10; the name itself decides between 2 and 02
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def list_frame_folders(entry: str, base_folder: Path) -> Found:
    """Return the folders with pictures that one path or glob stands for: itself, or else the folders below it.

    Raises:
        SourceError: there is none.
    """
    found: set[Path] = set()
    passed_over: Counter[str] = Counter()
    try:
        path = located(entry, base_folder)
        matches = [path] if path.is_dir() else matches_of(entry, base_folder) if is_glob(entry) else []
        for root in matches:
            if not root.is_dir():
                continue
            for folder in [root] if list_frames(root) else [below for below, _ in folders_below(root)]:
                pictures, others = _pictures_in(folder)
                real = folder.parent.resolve() / folder.name
                if not pictures or real in found:
                    continue
                passed_over += others
                if _is_utf8(real):
                    found.add(real)
                else:
                    passed_over["in a folder whose name is not UTF-8"] += len(pictures)
    except (OSError, ValueError) as error:  # ValueError: a NUL
        raise SourceError(f"{entry}: {getattr(error, 'strerror', None) or error}") from error
    listed = Found(sorted(found), passed_over)
    if not found:
        shown = ", ".join(f".{ending}" for ending in sorted(PICTURE_ENDINGS))
        remark = f"; {listed.remark}" if passed_over else ""
        raise SourceError(f"{entry}: no folder with {shown} pictures ({path}){remark}")
    return listed


def key_of_frames(paths: Sequence[Path], sha256_of: Callable[[Path], str] = sha256_of_file) -> tuple[str, str]:
    """Return (video key, sha256) of pictures in order, by their names and contents. `sha256_of` may remember."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{sha256_of(path)}\n".encode())
    return f"{FRAMES_PREFIX}{digest.hexdigest()[:32]}", digest.hexdigest()


def key_of_file(path: Path, sha256_of: Callable[[Path], str] = sha256_of_file) -> tuple[str, str | None]:
    """Return (video key, sha256) of a file, by content: `file-<first 32 hex digits>`.

    A file that cannot be read gets a key by its path and no sha256: its download records why. `sha256_of` may remember.
    """
    try:
        sha256 = sha256_of(path)
    except OSError:
        return key_of_path(path), None
    return f"file-{sha256[:32]}", sha256


def key_of_path(path: Path) -> str:
    """Return the key of a file or folder whose content is not known."""
    return f"file-path-{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}"


_CHUNK_BYTES: Final = 1 << 20


class _SourceError(Exception):
    """The file that is read fails, not the one that is written."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _copy_sharing_blocks(source: Path, target: Path) -> None:
    # copy_file_range lets a file system share blocks (reflink) instead of copying them; across file systems it may
    # refuse, and then the bytes are copied.
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            remaining = os.fstat(reader.fileno()).st_size
            while remaining > 0:
                copied = os.copy_file_range(reader.fileno(), writer.fileno(), remaining)
                if copied == 0:
                    break
                remaining -= copied
    except (AttributeError, OSError):
        _copy_bytes(source, target)


def _copy_bytes(source: Path, target: Path) -> None:
    """Copy, telling errors of the source (`_SourceError`) from those of the target (as they are)."""
    try:
        reader = source.open("rb")
    except OSError as error:
        raise _SourceError(error) from error
    with reader, target.open("wb", buffering=0) as writer:
        while chunk := _read(reader):
            written = 0
            while written < len(chunk):
                written += writer.write(chunk[written:])


def _read(reader: BinaryIO) -> bytes:
    try:
        return reader.read(_CHUNK_BYTES)
    except OSError as error:
        raise _SourceError(error) from error


def fetch_local_file(source: Path, folder: Path, *, how: str) -> Path:
    """Bring a file into `folder` as `video.<ext>` and return its path there.

    Args:
        source: absolute path of the original, which is left alone.
        folder: exists; a file there is overwritten.
        how: "copy" or "hardlink" (falls back to a copy on another file system).

    Raises:
        VideoPermanentError: the file is gone, empty or cannot be read.
        OSError: what is written fails, such as for want of space.
    """
    extension = source.suffix.lower().removeprefix(".")
    target = folder / video_file_name(extension if extension.isalnum() and extension.isascii() else "bin")
    target.unlink(missing_ok=True)
    try:
        size_bytes = source.stat().st_size
    except OSError as error:
        raise _unreadable(source, error) from error
    if size_bytes == 0:
        raise VideoPermanentError(VideoErrorKind.EMPTY_FILE, f"{source} is empty")
    try:
        if how == "hardlink" and _is_linked(source, target):
            return target
        _copy_sharing_blocks(source, target)
    except _SourceError as error:
        raise _unreadable(source, error.cause) from error
    except OSError:
        target.unlink(missing_ok=True)  # half a copy takes space and is of no use
        raise
    return target


def _is_linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _unreadable(source: Path, error: OSError) -> VideoPermanentError:
    return VideoPermanentError(VideoErrorKind.MISSING_FILE, f"{source} cannot be read: {error.strerror or error}")
