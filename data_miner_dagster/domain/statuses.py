"""Statuses of videos, project videos and projects, and the only transitions allowed between them."""

from collections.abc import Mapping
from enum import StrEnum


class VideoStatus(StrEnum):
    """Where a video stands on its way to frames. Central: the same for all projects."""

    PENDING = "PENDING"
    DOWNLOADING = "DOWNLOADING"
    DOWNLOADED = "DOWNLOADED"
    EXTRACTING = "EXTRACTING"
    EXTRACTED = "EXTRACTED"
    FAILED = "FAILED"  # may be retried
    UNAVAILABLE = "UNAVAILABLE"  # the site withholds it: not retried before a date


SETTLED_STATUSES = frozenset({VideoStatus.EXTRACTED, VideoStatus.FAILED, VideoStatus.UNAVAILABLE})
"""A video in one of these holds up no project."""


class ProjectVideoStatus(StrEnum):
    """Where a video stands in one project."""

    PENDING = "PENDING"
    FILTERING = "FILTERING"
    FILTERED = "FILTERED"
    FILTERED_EMPTY = "FILTERED_EMPTY"
    FAILED = "FAILED"
    REJECTED = "REJECTED"  # by a rule of this project, before any download


class ProjectStage(StrEnum):
    """How far a project has come."""

    POPULATING = "POPULATING"
    FILTERING = "FILTERING"
    DEDUP_READY = "DEDUP_READY"
    DEDUPING = "DEDUPING"
    DETECT_READY = "DETECT_READY"
    DETECTING = "DETECTING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"


_V, _PV, _P = VideoStatus, ProjectVideoStatus, ProjectStage

# A claim (catalog/claims.py) guards the working statuses; a working status without a live claim goes back one step.
VIDEO_TRANSITIONS: Mapping[VideoStatus, frozenset[VideoStatus]] = {
    _V.PENDING: frozenset({_V.DOWNLOADING, _V.FAILED, _V.UNAVAILABLE}),
    _V.DOWNLOADING: frozenset({_V.DOWNLOADED, _V.FAILED, _V.UNAVAILABLE, _V.PENDING}),
    _V.DOWNLOADED: frozenset({_V.EXTRACTING, _V.DOWNLOADING, _V.PENDING, _V.FAILED}),
    _V.EXTRACTING: frozenset({_V.EXTRACTED, _V.FAILED, _V.DOWNLOADED}),
    _V.EXTRACTED: frozenset({_V.EXTRACTING, _V.DOWNLOADING, _V.DOWNLOADED, _V.PENDING, _V.FAILED}),
    _V.FAILED: frozenset({_V.PENDING, _V.DOWNLOADING, _V.DOWNLOADED, _V.EXTRACTING}),
    _V.UNAVAILABLE: frozenset({_V.PENDING, _V.DOWNLOADING}),
}

PROJECT_VIDEO_TRANSITIONS: Mapping[ProjectVideoStatus, frozenset[ProjectVideoStatus]] = {
    _PV.PENDING: frozenset({_PV.FILTERING, _PV.FAILED, _PV.REJECTED}),
    _PV.FILTERING: frozenset({_PV.FILTERED, _PV.FILTERED_EMPTY, _PV.FAILED, _PV.PENDING}),
    _PV.FILTERED: frozenset({_PV.FILTERING, _PV.PENDING, _PV.REJECTED}),
    _PV.FILTERED_EMPTY: frozenset({_PV.FILTERING, _PV.PENDING, _PV.REJECTED}),
    _PV.FAILED: frozenset({_PV.PENDING, _PV.FILTERING, _PV.REJECTED}),
    _PV.REJECTED: frozenset({_PV.PENDING}),
}

PROJECT_TRANSITIONS: Mapping[ProjectStage, frozenset[ProjectStage]] = {
    _P.POPULATING: frozenset({_P.FILTERING, _P.FAILED}),
    _P.FILTERING: frozenset({_P.DEDUP_READY, _P.FAILED, _P.POPULATING}),
    _P.DEDUP_READY: frozenset({_P.DEDUPING, _P.FILTERING, _P.POPULATING}),
    _P.DEDUPING: frozenset({_P.DETECT_READY, _P.FAILED, _P.DEDUP_READY, _P.FILTERING, _P.POPULATING}),
    _P.DETECT_READY: frozenset({_P.DETECTING, _P.DEDUPING, _P.FILTERING, _P.POPULATING}),
    _P.DETECTING: frozenset({_P.COMPLETE, _P.FAILED, _P.DETECT_READY, _P.DEDUPING, _P.FILTERING, _P.POPULATING}),
    _P.COMPLETE: frozenset({_P.POPULATING, _P.FILTERING, _P.DEDUPING, _P.DETECTING}),
    _P.FAILED: frozenset({_P.POPULATING, _P.FILTERING, _P.DEDUPING, _P.DETECTING}),
}
