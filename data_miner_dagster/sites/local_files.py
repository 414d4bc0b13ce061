"""Find local video files, derive keys from their content, and copy or link them into the root."""

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
from data_miner_dagster.domain.keys import FILE_PREFIX, FRAMES_PREFIX, video_file_name
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.sites.folders import folders_below, is_glob, located, matches_of
from data_miner_dagster.sites.keys import readable_part

# fmt: off
VIDEO_ENDINGS: Final = frozenset((
    "264", "265", "3g2", "3gp", "asf", "avc", "avi", "dif", "divx", "dv", "f4v", "flv", "gif", "h264",
    "h265", "h26l", "hevc", "ism", "ismv", "ivf", "m1v", "m2t", "m2ts", "m2v", "m4v", "mj2", "mjpeg",
    "mjpg", "mk3d", "mkv", "mov", "mp4", "mpeg", "mpg", "mpv", "mts", "mxf", "nut", "obu", "ogg", "ogm",
    "ogv", "psp", "ts", "vc1", "vob", "webm", "wmv", "wtv", "y4m",
))
# fmt: on
"""The extensions that identify videos in a folder or glob. A file that is named explicitly is always tried.

Source: the extensions that libavformat lists for the formats of `media.containers.CONTAINER_OPTIONS`, without those for
sound, subtitles and pictures, plus a few others in use (divx, mpv, ogm).
"""
PICTURE_ENDINGS: Final = frozenset({"bmp", "jpeg", "jpg", "png", "webp"})
"""The extensions that identify pictures in a folder of frames."""
_MOST_REASONS: Final = 8


@dataclass(frozen=True, slots=True)
class Found:
    """The videos or folders of pictures that an entry refers to, and the number of files left out for each reason."""

    paths: list[Path]
    passed_over: Mapping[str, int]

    @property
    def remark(self) -> str:
        """A message such as `6 files were left out: .txt (5), .swf (1)`, or an empty string if no file was left out."""
        total = sum(self.passed_over.values())
        if not total:
            return ""
        by_count = sorted(self.passed_over.items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{reason} ({count:,})" for reason, count in by_count[:_MOST_REASONS])
        more = (
            f", and {counted(len(by_count) - _MOST_REASONS, 'other reason')}" if len(by_count) > _MOST_REASONS else ""
        )
        return f"{counted(total, 'file was', 'files were')} left out: {shown}{more}"


def _ending(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _why_not(path: Path, endings: Collection[str] | None) -> str | None:
    """Return why a path is left out, or None if it is accepted. If `endings` is None, any extension is accepted."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return f"name not UTF-8: {os.fsencode(path.name).decode(errors='backslashreplace')}"
    if endings is not None and _ending(path) not in endings:
        ending = printable(_ending(path))
        return f".{ending}" if ending else "no extension"
    return None if path.is_file() else "special file or broken link"


def _sorted_out(paths: Iterable[Path], endings: Collection[str] | None) -> Found:
    """Return the distinct accepted paths, sorted and with resolved folders, and count the other visible files."""
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


def is_there(entry: str, base_folder: Path) -> bool:
    """Return whether an entry names an existing path or is a glob that matches anything.

    Raises:
        SourceError: the entry begins with `~NAME`, but neither such a user nor such a file exists.
    """
    try:
        return located(entry, base_folder).exists() or (is_glob(entry) and any(matches_of(entry, base_folder)))
    except (OSError, ValueError):
        return False


def list_local_videos(entry: str, base_folder: Path) -> Found:
    """Return the absolute paths of the videos that an entry names, sorted and distinct, and count the files left out.

    Args:
        entry: a file (always accepted), a folder (videos below it), or a glob (videos among its matches, and below
            matching folders; `**` descends). `~` is the home folder. Relative entries are relative to `base_folder`.
        base_folder: an absolute path.

    Raises:
        SourceError: the entry does not exist, cannot be read, is a folder or glob without videos, or has a path that is
            not UTF-8. The message names the entry.
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
            where = "" if str(path) == entry else f" ({path})"
            raise SourceError(f"{entry}: the path{where} does not exist; correct it")
    except (OSError, ValueError) as error:  # ValueError: a NUL
        raise _not_listed(entry, error) from error
    if not found.paths:
        remark = f"; {found.remark}" if found.remark else ""
        where = "" if str(path) == entry else f" ({path})"
        raise SourceError(f"{entry}{where}: no video was found there; add videos, or correct the path{remark}")
    return found


def _not_listed(entry: str, error: Exception) -> SourceError:
    reason = getattr(error, "strerror", None) or error
    return SourceError(f"{entry}: the path cannot be read ({reason}); correct it or its permissions")


def _sorted_out_named(entry: str, path: Path) -> Found:
    real = path.parent.resolve() / path.name
    if not _is_utf8(real):
        shown = os.fsencode(real).decode(errors="backslashreplace")
        raise SourceError(
            f"{entry}: the path is not UTF-8 ({shown}); rename the file or folder whose name is not UTF-8"
        )
    return Found([real], {})


def _of_glob(entry: str, base_folder: Path) -> Found:
    # `**` already matches every folder, so its matches are not searched again.
    descends = "**" in entry.split("/")
    suffix = Path(entry).suffix
    endings = None if suffix and not is_glob(suffix) else VIDEO_ENDINGS  # None if the glob specifies an extension
    named, below = list[Path](), list[Path]()
    for match in matches_of(entry, base_folder):
        if not match.is_dir():
            named.append(match)
        elif not descends:
            below.extend(_files_below(match))
    one, other = _sorted_out(named, endings), _sorted_out(below, VIDEO_ENDINGS)
    return Found(sorted({*one.paths, *other.paths}), Counter(one.passed_over) + Counter(other.passed_over))


def list_frames(folder: Path) -> list[Path]:
    """Return the pictures directly inside a folder, sorted by name in natural order.

    The list is empty if `folder` does not exist or contains no pictures.

    Raises:
        OSError: the folder cannot be read.
    """
    return _pictures_in(folder)[0] if folder.is_dir() else []


def _pictures_in(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return a folder's pictures in natural order, and the number of files left out for each reason."""
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
    # frame_2 sorts before frame_10. The full name breaks ties such as 2 and 02.
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def list_frame_folders(entry: str, base_folder: Path) -> Found:
    """Return the sorted folders with pictures that an entry names, and count the other files in them.

    The entry is a path or a glob. If a folder that it names has pictures, that folder is returned. Otherwise, every
    folder with pictures below it is returned.

    Raises:
        SourceError: the entry cannot be read, or does not name any folder with pictures.
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
        raise _not_listed(entry, error) from error
    listed = Found(sorted(found), passed_over)
    if not found:
        shown = ", ".join(f".{ending}" for ending in sorted(PICTURE_ENDINGS))
        remark = f"; {listed.remark}" if passed_over else ""
        raise SourceError(
            f"{entry}: no folder with pictures ({shown}) was found at {path}; add pictures, or correct the path{remark}"
        )
    return listed


def key_of_frames(paths: Sequence[Path], sha256_of: Callable[[Path], str] = sha256_of_file) -> tuple[str, str]:
    """Derive the video key and sha256 of a sequence of pictures from their names and contents.

    The key is `frames-<name of the folder>.<16 hex digits>`. `sha256_of` may use a cache.

    Raises:
        OSError: a picture cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{sha256_of(path)}\n".encode())
    name = readable_part(paths[0].parent.name) if paths else ""
    return f"{FRAMES_PREFIX}{name or 'frames'}.{digest.hexdigest()[:16]}", digest.hexdigest()


def key_of_file(path: Path, sha256_of: Callable[[Path], str] = sha256_of_file) -> tuple[str, str | None]:
    """Derive the video key and sha256 of a file from its content. The key is `file-<name>.<first 16 hex digits>`.

    An unreadable file gets a key from its path, and None as its sha256; its download records the error. `sha256_of` may
    use a cache.
    """
    try:
        sha256 = sha256_of(path)
    except OSError:
        return key_of_path(path), None
    return f"{FILE_PREFIX}{readable_part(path.stem) or 'video'}.{sha256[:16]}", sha256


def key_of_path(path: Path) -> str:
    """Return a key derived from a path, for a file or folder whose content is unknown."""
    return f"{FILE_PREFIX}path-{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}"


_CHUNK_BYTES: Final = 1 << 20


class _SourceError(Exception):
    """Reading the source failed, as opposed to writing the target."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _copy_sharing_blocks(source: Path, target: Path) -> None:
    # copy_file_range lets a file system share blocks (reflink) instead of copying them. If it fails, for example
    # across file systems, the bytes are copied.
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
    """Copy a file's bytes.

    Raises:
        _SourceError: the source cannot be read.
        OSError: the target cannot be written.
    """
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
    """Copy or link a file into `folder` as `video.<ext>`, and return its path there.

    Args:
        source: the absolute path of the original, which is not changed.
        folder: an existing folder. A file with the target's name is overwritten.
        how: "copy" or "hardlink", which falls back to a copy if linking fails.

    Raises:
        VideoPermanentError: the file is missing, empty or unreadable.
        OSError: writing fails, for example because the disk is full.
    """
    extension = source.suffix.lower().removeprefix(".")
    target = folder / video_file_name(extension if extension.isalnum() and extension.isascii() else "bin")
    target.unlink(missing_ok=True)
    try:
        size_bytes = source.stat().st_size
    except OSError as error:
        raise _unreadable(source, error) from error
    if size_bytes == 0:
        raise VideoPermanentError(VideoErrorKind.EMPTY_FILE, f"{source} is empty (0 bytes); replace the file")
    try:
        if how == "hardlink" and _is_linked(source, target):
            return target
        _copy_sharing_blocks(source, target)
    except _SourceError as error:
        raise _unreadable(source, error.cause) from error
    except OSError:
        target.unlink(missing_ok=True)  # a partial copy is useless
        raise
    return target


def _is_linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _unreadable(source: Path, error: OSError) -> VideoPermanentError:
    return VideoPermanentError(
        VideoErrorKind.MISSING_FILE,
        f"{source} cannot be read ({error.strerror or error}); correct the path or its permissions, then run "
        "`data-miner retry --kind missing_file`",
    )
