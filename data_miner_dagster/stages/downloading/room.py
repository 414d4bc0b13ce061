"""Decide whether a download may begin under a quota, and how much has to be removed for it. Pure functions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FRAMES_PER_BYTE: Final = 1.0
"""Bytes of frames to one of video, before any video has been extracted: about that at 720p and a frame a second."""
FILLED_SHARE: Final = 0.9
"""Downloads fill no more of a quota: the rest is for what grows meanwhile (tables, events, the catalog's log)."""


class RoomAnswer(StrEnum):
    """Whether a download may begin."""

    YES = "yes"
    AFTER_DOWNLOADS = "after_downloads"  # what others may take has to be known first: within seconds
    AFTER_EXTRACTION = "after_extraction"  # files of videos that wait for their frames are in the way
    NO = "no"  # existing files stay


@dataclass(frozen=True, slots=True)
class RoomState:
    """The bytes under a root, as a download that is about to begin meets them."""

    quota: int
    held: int  # on disk, plus frames still to come for existing videos
    promised: int  # to other downloads
    is_extracting: bool  # videos are being extracted; their files can be removed afterwards
    goes_on_beyond: bool  # one at a time, if nothing else helps


def filled_limit(quota: int) -> int:
    """Return how many bytes of a quota may be filled."""
    return round(FILLED_SHARE * quota)


def may_download(state: RoomState, frames_bytes: int) -> RoomAnswer:
    """Return whether a download may begin whose frames will take `frames_bytes`.

    It may if all that is there and promised is within the quota without the video itself: so at most the quota and one
    video is ever taken.
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
