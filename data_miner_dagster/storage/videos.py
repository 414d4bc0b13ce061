"""`videos/<key>/info.json`: the manifest of a downloaded and proven video, written last."""

import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from data_miner_dagster.domain.records import VideoFileRecord
from data_miner_dagster.storage.atomic import write_json
from data_miner_dagster.storage.layout import StorageLayout


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A manifest: the file, and where it came from. Same bytes, same manifest: no dates of ours, no secrets."""

    video_key: str
    file: VideoFileRecord
    url: str | None  # without query strings that sign or identify; None for local files
    extractor: str
    format_id: str | None = None
    channel_id: str | None = None
    content_fingerprint: str | None = None


def write_video_info(layout: StorageLayout, info: VideoInfo) -> None:
    """Write the manifest, atomically. The file must be in place."""
    file = {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(info.file).items()}
    write_json(
        layout.video_info(info.video_key),
        {
            "video_key": info.video_key,
            "url": info.url,
            "extractor": info.extractor,
            "format_id": info.format_id,
            "channel_id": info.channel_id,
            "content_fingerprint": info.content_fingerprint,
            **file,
        },
    )


def read_video_info(layout: StorageLayout, video_key: str) -> VideoInfo | None:
    """Return the manifest, or None where there is no valid one whose file is there with the size it names.

    `file.file_name` is empty for a folder of frames: there is no video file.
    """
    path = layout.video_info(video_key)
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        upload_date = content.pop("upload_date")
        info = VideoInfo(
            video_key=content.pop("video_key"),
            url=content.pop("url"),
            extractor=content.pop("extractor"),
            format_id=content.pop("format_id"),
            channel_id=content.pop("channel_id"),
            content_fingerprint=content.pop("content_fingerprint"),
            file=VideoFileRecord(upload_date=date.fromisoformat(upload_date) if upload_date else None, **content),
        )
        if not info.file.file_name:  # a folder of frames has no file of its own
            return info if info.video_key == video_key else None
        actual_size = (path.parent / info.file.file_name).stat().st_size
    except (FileNotFoundError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return info if actual_size == info.file.size_bytes and info.video_key == video_key else None
