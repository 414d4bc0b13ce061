"""The formats of video keys, project names and frame ids, and their checks."""

import hashlib
import re
from typing import Final

from data_miner_dagster.domain.errors import ConfigError

_SAFE: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_VIDEO_KEY: Final = re.compile(r"[a-z0-9_]+-[A-Za-z0-9_.-]+")
_PROJECT_NAME: Final = re.compile(_SAFE)
MAX_KEY_LENGTH: Final = 200
"""The maximum number of characters in a video key.

This leaves room for suffixes within the 255 bytes that file systems commonly allow for a name.
"""
FILE_PREFIX: Final = "file-"
"""The prefix of the key of a video file on this machine."""
FRAMES_PREFIX: Final = "frames-"
"""The prefix of the key of a picture folder that is treated as a video."""
OBJECT_PREFIX: Final = "object-"
"""The prefix of the key of a video in a bucket."""
VIDEO_STEM: Final = "video"
"""The file name of a downloaded video, without its extension."""


def check_video_key(key: str) -> str:
    """Return `key` if it has the form `<extractor>-<id>` and is safe as a file name and as a partition key.

    Two dots in a row are not allowed, because Dagster reads `...` as a range.

    Raises:
        ConfigError: `key` has another form, is too long, ends with a dot, or contains two dots in a row.
    """
    if len(key) > MAX_KEY_LENGTH or ".." in key or key.endswith(".") or not _VIDEO_KEY.fullmatch(key):
        raise ConfigError(
            f"the video key {key!r} is not valid; use '<extractor>-<id>', with the extractor in lower case, at most "
            f"{MAX_KEY_LENGTH} letters, digits, '_', '-' and '.', and no '..' or final '.'"
        )
    return key


def check_project_name(name: str) -> str:
    """Return `name` if it is safe as a folder name and as a partition key.

    Raises:
        ConfigError: the name is too long, contains unsafe characters or two dots in a row, does not start with a letter
            or digit, or ends with a dot.
    """
    if len(name) > 100 or ".." in name or name.endswith(".") or not _PROJECT_NAME.fullmatch(name):
        raise ConfigError(
            f"the project name {name!r} is not valid; use at most 100 letters, digits, '_', '-' and '.', starting "
            "with a letter or digit, without '..' or a final '.'"
        )
    return name


def make_frame_id(video_key: str, frame_index: int) -> str:
    """Return the id `<video key>/<six-digit ordinal of the sampled frame>`, which sorts by video, then by time."""
    return f"{video_key}/{frame_index:06d}"


def split_frame_id(frame_id: str) -> tuple[str, int]:
    """Return the video key and the frame index that a frame id contains.

    Raises:
        ValueError: the part after the last `/` is not a whole number.
    """
    video_key, _, ordinal = frame_id.rpartition("/")
    return video_key, int(ordinal)


def has_foreign_pictures(video_key: str) -> bool:
    """Return whether a third party may have written the image files of a video's frames.

    That is possible only for picture folders, since this package encodes the frames of video files itself.
    """
    return video_key.startswith(FRAMES_PREFIX)


def frame_file_name(frame_index: int, extension: str = "jpg") -> str:
    """Return the file name of a sampled frame inside its video's folder."""
    return f"{frame_index:06d}.{extension}"


def video_file_name(extension: str) -> str:
    """Return the file name of a downloaded video inside its folder."""
    return f"{VIDEO_STEM}.{extension}"


_CONTENT_KEY: Final = re.compile(r"(file|frames)-(?:([0-9a-f]{32})|[A-Za-z0-9_-]+\.([0-9a-f]{16}))")


def digest_of_key(key: str) -> str | None:
    """Return the hex digits of a sha256 that the key of a local file or folder contains, or None for other keys.

    They are the first digits of the sha256 of the content. The key has the form `<kind>-<name>.<16 digits>`, or
    `<kind>-<32 digits>` in roots of earlier versions. The kind is `file` or `frames`.
    """
    found = _CONTENT_KEY.fullmatch(key)
    return None if found is None else found[2] or found[3]


def is_key_of_content(key: str, sha256: str) -> bool:
    """Return whether a local file or folder whose content has this sha256 can have this key."""
    digest = digest_of_key(key)
    return digest is not None and sha256.startswith(digest)


def forgotten_subject(kind: str, name: str) -> str:
    """Return the identifier by which the catalog recognizes a forgotten video or channel without storing its name.

    The identifier of a local file or folder depends only on its content, so renaming it does not change the identifier.
    """
    if kind == "video" and "." in name and (digest := digest_of_key(name)) is not None:
        name = f"{name.partition('-')[0]}-.{digest}"
    return f"{kind}/{hashlib.sha256(name.encode()).hexdigest()}"
