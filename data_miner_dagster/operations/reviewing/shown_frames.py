"""What a page says of a frame besides its boxes: its picture, its size, and where it is in its video."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.config.interpolation import ShownSettings
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.keys import make_frame_id, split_frame_id
from data_miner_dagster.domain.verdicts import FramePlace, VerdictWord
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.records import ReviewBox, ReviewFrame
from data_miner_dagster.stages.releasing import public_reference
from data_miner_dagster.storage.frames import frames_table_of, read_frames

_VIDEOS_AT_HAND: Final = 1000
_COLUMNS: Final = ("frame_index", "file_name", "pts_seconds", "width", "height")
_YOUTUBE: Final = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be"})


class ShownFrames:
    """Looks frames up by id. The tables of a limited number of videos are kept at hand."""

    def __init__(self, platform: Platform, shown: ShownSettings) -> None:
        self._layout = platform.layout
        self._database = platform.database
        self._shown = shown
        self._frames_of = lru_cache(_VIDEOS_AT_HAND)(self._read_frames)
        self._video_of = lru_cache(_VIDEOS_AT_HAND)(self._read_video)

    def frame(
        self, frame_id: str, boxes: tuple[ReviewBox, ...] = (), verdicts: Mapping[VerdictWord, str] | None = None
    ) -> ReviewFrame | None:
        """Return one frame, None if it is gone."""
        row = self._row_of(frame_id)
        if row is None:
            return None
        video_key, _ = split_frame_id(frame_id)
        title, url = self._video_of(video_key)
        return ReviewFrame(
            frame_id=frame_id,
            place=FramePlace(video_key, row["pts_seconds"]),
            resolution_wh=(row["width"], row["height"]),
            image=self._layout.frame_picture(video_key, row["file_name"]),
            video_title=title,
            video_url=address_at(url, row["pts_seconds"]),
            boxes=boxes,
            verdicts=verdicts or {},
        )

    def resolution_of(self, frame_id: str) -> tuple[int, int] | None:
        """Return the size of a frame, None if it is gone."""
        row = self._row_of(frame_id)
        return None if row is None else (row["width"], row["height"])

    def place_of(self, frame_id: str) -> FramePlace | None:
        """Return the time of a frame, None if it is gone."""
        row = self._row_of(frame_id)
        return None if row is None else FramePlace(split_frame_id(frame_id)[0], row["pts_seconds"])

    def frame_at(self, place: FramePlace) -> str | None:
        """Return the frame at a time in a video, whatever its id was when a person saw it; None if there is none."""
        frames = self._table_of(place.video_key)
        if frames is None:
            return None
        where = np.flatnonzero(frames["pts_seconds"].to_numpy() == place.pts_seconds)
        return make_frame_id(place.video_key, frames["frame_index"][int(where[0])].as_py()) if len(where) else None

    def ids_of(self, video_key: str) -> list[str]:
        """Return the frames of a video, in order of time."""
        frames = self._table_of(video_key)
        indices = [] if frames is None else frames["frame_index"].to_pylist()
        return [make_frame_id(video_key, frame_index) for frame_index in indices]

    def _row_of(self, frame_id: str) -> dict[str, Any] | None:
        video_key, frame_index = split_frame_id(frame_id)
        frames = self._table_of(video_key)
        if frames is None:
            return None
        indices = frames["frame_index"].to_numpy()
        position = int(np.searchsorted(indices, frame_index))
        if position == len(indices) or indices[position] != frame_index:
            return None
        row: dict[str, Any] = frames.slice(position, 1).to_pylist()[0]
        return row

    def _table_of(self, video_key: str) -> pa.Table | None:
        try:
            found = frames_table_of(self._layout, video_key).stat()
        except FileNotFoundError:
            return None
        return self._frames_of(video_key, (found.st_ino, found.st_mtime_ns))  # read again once it is made again

    def _read_frames(self, video_key: str, _mark: tuple[int, int]) -> pa.Table:
        return read_frames(self._layout, video_key, _COLUMNS).combine_chunks()

    def _read_video(self, video_key: str) -> tuple[str, str]:
        video = find_video(self._database, video_key)
        if video is None:
            return video_key, ""
        url = self._shown.text(public_reference(video.url, is_path=video.origin is Origin.LOCAL))
        return video.title or video_key, url


def address_at(url: str, pts_seconds: float) -> str:
    """Return the address of a video at one second. What is no address stays as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.scheme not in ("http", "https"):
        return url
    second = int(pts_seconds)
    if parts.hostname in _YOUTUBE:
        return f"{url}{'&' if parts.query else '?'}t={second}s"
    return f"{url}#t={second}"  # a media fragment, which browsers know
