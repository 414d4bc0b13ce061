"""Look up a frame's image file, size and time, which a review page shows along with the boxes."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.config.interpolation import ShownSettings
from data_miner_dagster.domain.addresses import Origin, address_at
from data_miner_dagster.domain.keys import make_frame_id, split_frame_id
from data_miner_dagster.domain.verdicts import FramePlace, VerdictWord
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.records import ReviewBox, ReviewFrame
from data_miner_dagster.stages.releasing import public_reference
from data_miner_dagster.storage.alignment import position_at
from data_miner_dagster.storage.frames import frames_table_of, read_frames

_MOST_AT_HAND: Final = 500_000
"""The maximum number of frames in the cached tables of recently used videos, at 50 bytes per frame."""
_VIDEOS_AT_HAND: Final = 1000
_COLUMNS: Final = ("frame_index", "file_name", "pts_seconds", "width", "height")


@dataclass(frozen=True, slots=True)
class _VideoFrames:
    """The frames of one video in order, and the mark of the table they were read from."""

    mark: tuple[int, int]
    indices: npt.NDArray[np.int32]
    pts_seconds: npt.NDArray[np.float64]
    sizes_wh: npt.NDArray[np.int32]
    file_names: pa.ChunkedArray

    @classmethod
    def of(cls, table: pa.Table, mark: tuple[int, int]) -> "_VideoFrames":
        sizes_wh = np.stack([table["width"].to_numpy(), table["height"].to_numpy()], axis=1)
        return cls(mark, table["frame_index"].to_numpy(), table["pts_seconds"].to_numpy(), sizes_wh, table["file_name"])

    def position_of(self, frame_index: int) -> int | None:
        """Return the position of the frame with this index, or None if there is no such frame."""
        position = int(np.searchsorted(self.indices, frame_index))
        return position if position < len(self.indices) and self.indices[position] == frame_index else None

    def resolution_of(self, position: int) -> tuple[int, int]:
        """Return the size of the frame at this position: (width, height) in pixels."""
        width, height = self.sizes_wh[position].tolist()
        return width, height


class ShownFrames:
    """A lookup of frames by id, or by video and time. The tables of recently used videos are cached."""

    def __init__(self, platform: Platform, shown: ShownSettings) -> None:
        self._layout = platform.layout
        self._database = platform.database
        self._shown = shown
        self._at_hand: OrderedDict[str, _VideoFrames] = OrderedDict()
        self._video_of = lru_cache(_VIDEOS_AT_HAND)(self._read_video)

    def frame(
        self, frame_id: str, boxes: tuple[ReviewBox, ...] = (), verdicts: Mapping[VerdictWord, str] | None = None
    ) -> ReviewFrame | None:
        """Return a frame with the given boxes and verdicts, or None if the frame no longer exists."""
        found = self._find(frame_id)
        if found is None:
            return None
        frames, position = found
        video_key, _ = split_frame_id(frame_id)
        title, url = self._video_of(video_key)
        pts_seconds = float(frames.pts_seconds[position])
        return ReviewFrame(
            frame_id=frame_id,
            place=FramePlace(video_key, pts_seconds),
            resolution_wh=frames.resolution_of(position),
            image=self._layout.frame_picture(video_key, frames.file_names[position].as_py()),
            video_title=title,
            video_url=address_at(url, pts_seconds),
            boxes=boxes,
            verdicts=verdicts or {},
        )

    def resolution_of(self, frame_id: str) -> tuple[int, int] | None:
        """Return the size of a frame, (width, height) in pixels, or None if the frame no longer exists."""
        found = self._find(frame_id)
        return None if found is None else found[0].resolution_of(found[1])

    def place_of(self, frame_id: str) -> FramePlace | None:
        """Return the video and time of a frame, or None if the frame no longer exists."""
        found = self._find(frame_id)
        return None if found is None else FramePlace(split_frame_id(frame_id)[0], float(found[0].pts_seconds[found[1]]))

    def frame_at(self, place: FramePlace) -> str | None:
        """Return the current id of the frame at a time in a video, or None if there is no such frame."""
        frames = self._frames_of(place.video_key)
        position = None if frames is None else position_at(frames.pts_seconds, place.pts_seconds)
        if frames is None or position is None:
            return None
        return make_frame_id(place.video_key, int(frames.indices[position]))

    def ids_of(self, video_key: str) -> list[str]:
        """Return the ids of a video's frames, in order of time."""
        frames = self._frames_of(video_key)
        indices = [] if frames is None else frames.indices.tolist()
        return [make_frame_id(video_key, frame_index) for frame_index in indices]

    def _find(self, frame_id: str) -> tuple["_VideoFrames", int] | None:
        """Return all frames of a frame's video and the frame's position among them, or None if the frame is missing."""
        video_key, frame_index = split_frame_id(frame_id)
        frames = self._frames_of(video_key)
        position = None if frames is None else frames.position_of(frame_index)
        return None if frames is None or position is None else (frames, position)

    def _frames_of(self, video_key: str) -> "_VideoFrames | None":
        """Return the frames of a video, or None if it has no table of frames. A rewritten table is read again."""
        try:
            found = frames_table_of(self._layout, video_key).stat()
        except FileNotFoundError:
            return None
        mark = (found.st_ino, found.st_mtime_ns)
        known = self._at_hand.get(video_key)
        if known is not None and known.mark == mark:
            self._at_hand.move_to_end(video_key)
            return known
        known = _VideoFrames.of(read_frames(self._layout, video_key, _COLUMNS).combine_chunks(), mark)
        self._at_hand[video_key] = known
        while len(self._at_hand) > 1 and sum(len(one.indices) for one in self._at_hand.values()) > _MOST_AT_HAND:
            self._at_hand.popitem(last=False)
        return known

    def _read_video(self, video_key: str) -> tuple[str, str]:
        video = find_video(self._database, video_key)
        if video is None:
            return video_key, ""
        url = self._shown.text(public_reference(video.url, is_path=video.origin is Origin.LOCAL))
        return video.title or video_key, url
