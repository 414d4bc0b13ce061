"""Test the bytes of `info.json`, and which files are not accepted as one."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.domain.records import VideoFileRecord
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.videos import VideoInfo, read_video_info, write_video_info

KEY = "files-abc"
INFO = VideoInfo(
    KEY,
    VideoFileRecord("video.mp4", 3, "f00", 2.5, 64, 48, title="Möwe", upload_date=date(2024, 2, 29)),
    url="http://localhost/a.mp4",
    extractor="generic",
)
TEXT = """{
  "channel": null,
  "channel_id": null,
  "content_fingerprint": null,
  "duration_seconds": 2.5,
  "extractor": "generic",
  "file_name": "video.mp4",
  "format_id": null,
  "height": 48,
  "licence": null,
  "sha256": "f00",
  "size_bytes": 3,
  "title": "Möwe",
  "upload_date": "2024-02-29",
  "url": "http://localhost/a.mp4",
  "video_key": "files-abc",
  "width": 64
}
"""


@pytest.fixture
def layout(tmp_path: Path) -> StorageLayout:
    layout = StorageLayout(tmp_path)
    layout.video_info(KEY).parent.mkdir(parents=True)
    (layout.video_info(KEY).parent / "video.mp4").write_bytes(b"abc")
    return layout


def test_write_video_info__these_bytes(layout: StorageLayout) -> None:
    write_video_info(layout, INFO)
    assert layout.video_info(KEY).read_text(encoding="utf-8") == TEXT
    assert read_video_info(layout, KEY) == INFO


@pytest.mark.parametrize(
    "change",
    [{"size_bytes": 4}, {"size_bytes": "3"}, {"upload_date": "yesterday"}, {"video_key": "files-b"}, {"more": 1}],
)
def test_read_video_info__is_none_where_it_is_not_true(layout: StorageLayout, change: dict[str, Any]) -> None:
    layout.video_info(KEY).write_text(json.dumps({**json.loads(TEXT), **change}), encoding="utf-8")
    assert read_video_info(layout, KEY) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"null"])
def test_read_video_info__is_none_where_it_is_damaged(layout: StorageLayout, content: bytes) -> None:
    layout.video_info(KEY).write_bytes(content)
    assert read_video_info(layout, KEY) is None
