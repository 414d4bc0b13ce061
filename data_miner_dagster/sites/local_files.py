"""Videos that are files on this machine: found, keyed by content, brought under the root."""

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import SourceError, VideoPermanentError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.reasons import VideoErrorKind

VIDEO_EXTENSIONS: Final = frozenset(
    [
        "3gp",
        "asf",
        "avi",
        "flv",
        "gif",
        "m2ts",
        "m4v",
        "mkv",
        "mov",
        "mp4",
        "mpeg",
        "mpg",
        "mts",
        "mxf",
        "ogm",
        "ogv",
        "ts",
        "vob",
        "webm",
        "wmv",
    ]
)
"""What is taken for a video in a folder or by a glob; a file that is named itself is always taken."""

PICTURE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
"""What is taken for a picture in a folder of frames."""

FRAMES_PREFIX: Final = "frames-"
"""Of the keys of videos that are folders of frames."""


def is_video_name(path: Path) -> bool:
    """Return whether a file's extension is one of a video and the file is not hidden."""
    return path.suffix.lower().removeprefix(".") in VIDEO_EXTENSIONS and not path.name.startswith(".")


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folder_names, file_names in os.walk(folder):
        folder_names[:] = sorted(name for name in folder_names if not name.startswith("."))
        found.extend(path for name in file_names if is_video_name(path := Path(parent) / name))
    return found


def list_local_videos(entry: str, base_folder: Path) -> list[Path]:
    """Return the absolute paths that one path, folder or glob stands for, sorted, each once.

    Args:
        entry: a file (taken whatever it is), a folder (videos below it), or a glob (videos among what it matches;
            `**` descends). `~` is the home folder; relative entries start at `base_folder`.
        base_folder: absolute.

    Raises:
        SourceError: the entry names nothing, or a folder without a video. Never an empty list.
    """
    path = base_folder / Path(entry).expanduser()
    try:
        if path.is_file():
            return [path.parent.resolve() / path.name]
        if path.is_dir():
            found = _files_below(path)
        elif glob.has_magic(entry):
            found = []
            for match in map(Path, glob.glob(str(path), recursive=True)):  # noqa: PTH207  # takes absolute patterns
                if match.is_dir():
                    # `**` names every folder by itself: only its last match is a folder to search
                    found.extend([] if "**" in entry else _files_below(match))
                elif is_video_name(match) or (glob.has_magic(Path(entry).suffix) is False and Path(entry).suffix):
                    found.append(match)
        else:
            raise SourceError(f"{entry}: there is no such file or folder ({path})")
    except OSError as error:
        raise SourceError(f"{entry}: {error.strerror or error}") from error
    if not found:
        raise SourceError(f"{entry}: no video found below or matching {path}")
    return sorted({file.parent.resolve() / file.name for file in found})


def list_frames(folder: Path) -> list[Path]:
    """Return the pictures directly inside a folder, by name, numbers in names by value; empty if there are none."""
    if not folder.is_dir():
        return []
    pictures = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return sorted(pictures, key=_natural_order)


def _natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    # frame_2 before frame_10; the name itself decides between 2 and 02
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def list_frame_folders(entry: str, base_folder: Path) -> list[Path]:
    """Return the folders with pictures that one path or glob stands for: itself, or else the folders below it.

    Raises:
        SourceError: there is none.
    """
    path = base_folder / Path(entry).expanduser()
    if path.is_dir():
        roots = [path]
    else:
        matches = glob.glob(str(path), recursive=True) if glob.has_magic(entry) else []  # noqa: PTH207
        roots = [folder for folder in map(Path, matches) if folder.is_dir()]
    found = set()
    for root in roots:
        below = [folder for folder in root.rglob("*") if folder.is_dir()] if not list_frames(root) else []
        found |= {folder.parent.resolve() / folder.name for folder in (root, *below) if list_frames(folder)}
    if not found:
        raise SourceError(f"{entry}: no folder with {', '.join(sorted(PICTURE_SUFFIXES))} pictures ({path})")
    return sorted(found)


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
        shutil.copyfile(source, target)


def fetch_local_file(source: Path, folder: Path, *, how: str) -> Path:
    """Bring a file into `folder` as `video.<ext>` and return its path there.

    Args:
        source: absolute path of the original, which is left alone.
        folder: exists; a file there is overwritten.
        how: "copy" or "hardlink" (falls back to a copy on another file system).

    Raises:
        VideoPermanentError: the file is gone, empty or cannot be read.
    """
    extension = source.suffix.lower().removeprefix(".")
    target = folder / f"video.{extension if extension.isalnum() and extension.isascii() else 'bin'}"
    target.unlink(missing_ok=True)
    try:
        if source.stat().st_size == 0:
            raise VideoPermanentError(VideoErrorKind.EMPTY_FILE, f"{source} is empty")
        if how == "hardlink":
            try:
                os.link(source, target)
            except OSError:
                _copy_sharing_blocks(source, target)
        else:
            _copy_sharing_blocks(source, target)
    except OSError as error:
        raise VideoPermanentError(
            VideoErrorKind.MISSING_FILE, f"{source} cannot be read: {error.strerror or error}"
        ) from error
    return target
