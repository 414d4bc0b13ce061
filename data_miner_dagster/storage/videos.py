"""Read and write `videos/<key>/info.json`, the manifest of a downloaded and verified video, which is written last."""

import json
from dataclasses import dataclass, fields
from typing import Any, Final

from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.domain.records import VideoFileRecord
from data_miner_dagster.storage.atomic import write_json
from data_miner_dagster.storage.layout import StorageLayout

_FILE_FIELDS: Final = tuple(field.name for field in fields(VideoFileRecord))
"""The fields of the file record, which `info.json` stores next to the other fields."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The manifest of a video: its file and its origin.

    It contains no secrets and no time of download, so downloading the same file again yields the same manifest.
    """

    video_key: str
    file: VideoFileRecord
    url: str | None  # without query parameters that contain signatures or identify a user; None for local files
    extractor: str  # yt-dlp's, or the kind of origin, such as "file" or "frames"
    format_id: str | None = None  # the site's id of the downloaded format
    channel_id: str | None = None
    content_fingerprint: str | None = None  # as in `media.outcomes.ProbedVideo`


def write_video_info(layout: StorageLayout, info: VideoInfo) -> None:
    """Write the manifest of a video atomically. The video file must be in place."""
    content = as_json(info)
    file = content.pop("file")
    write_json(layout.video_info(info.video_key), {**content, **file})


def read_video_info(layout: StorageLayout, video_key: str) -> VideoInfo | None:
    """Return the manifest of a video, or None if the manifest or the video file is missing or invalid.

    The video file is invalid if its size differs from the size in the manifest.

    `file.file_name` is empty for a folder of frames, which has no video file.
    """
    path = layout.video_info(video_key)
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        file = {name: content.pop(name) for name in _FILE_FIELDS if name in content}
        info = from_json(VideoInfo, {**content, "file": file})
        if not info.file.file_name:  # a folder of frames has no file of its own
            return info if info.video_key == video_key else None
        actual_size = (path.parent / info.file.file_name).stat().st_size
    except (FileNotFoundError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return info if actual_size == info.file.size_bytes and info.video_key == video_key else None
