"""Decide whether a download may begin under a quota. Pure functions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FRAMES_PER_BYTE: Final = 1.0
"""The number of bytes of frames per byte of video that is assumed before any extraction. It is about right at 720p and
one frame per second."""
FILLED_SHARE: Final = 0.9
"""The fraction of a quota that downloads may fill. The rest is for files that grow (tables, events, the log)."""


class RoomAnswer(StrEnum):
    """Whether a download may begin, and the event to wait for if it may not."""

    YES = "yes"
    AFTER_DOWNLOADS = "after_downloads"  # once the sizes of other downloads are known, usually within seconds
    AFTER_EXTRACTION = "after_extraction"  # once videos that are waiting for extraction have freed their space
    NO = "no"  # the existing files will not be removed


@dataclass(frozen=True, slots=True)
class RoomState:
    """The state of a root when a download is about to begin. Sizes are in bytes."""

    quota: int
    held: int  # on disk, plus the frames that existing videos will still add
    promised: int  # reserved by other downloads
    is_extracting: bool  # videos are being extracted; their files can be removed afterwards
    goes_on_beyond: bool  # allow downloads beyond the quota, one at a time, if nothing else helps


def filled_limit(quota: int) -> int:
    """Return the number of bytes of a quota that may be filled."""
    return round(FILLED_SHARE * quota)


def may_download(state: RoomState, frames_bytes: int) -> RoomAnswer:
    """Return whether a download whose frames will take `frames_bytes` may begin, or the event to wait for.

    It may begin if the stored files, all reservations and these frames fit into the part of the quota that may be
    filled. The video file itself is not counted, so a download may exceed that part by one video. With
    `goes_on_beyond`, the download may also begin if nothing else helps.
    """
    limit = filled_limit(state.quota)
    if state.held + frames_bytes + state.promised <= limit:
        return RoomAnswer.YES
    if state.promised and state.held + frames_bytes <= limit:
        return RoomAnswer.AFTER_DOWNLOADS
    if state.is_extracting:
        return RoomAnswer.AFTER_EXTRACTION
    if state.promised:
        return RoomAnswer.AFTER_DOWNLOADS
    return RoomAnswer.YES if state.goes_on_beyond else RoomAnswer.NO
