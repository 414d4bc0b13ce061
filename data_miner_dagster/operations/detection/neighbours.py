"""Decode, store and examine the pictures around a project's frames, so that objects can be followed.

The pictures are stored in `windows/`, in one folder per video, which all projects share. If a video's pictures are
unavailable, its objects are not followed, and its boxes remain as detected.

Belongs here: decoding the pictures, and having the detectors or the tracking network examine them, which is the
expensive part. Does not belong here: joining the results into tracks (following.py).
"""

import heapq
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.tracking import TrackingConfig
from data_miner_dagster.domain.errors import (
    ClaimHeldError,
    UnreadableImageError,
    VideoPermanentError,
    VideoTransientError,
)
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import has_foreign_pictures
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.domain.tables import COLOURED_DETECTIONS_SCHEMA
from data_miner_dagster.models.provider import DetectorRole
from data_miner_dagster.operations.detection.runs import PART_FRAMES, FrameToDetect, Looker
from data_miner_dagster.operations.detection.sessions import VideoSessions
from data_miner_dagster.operations.extraction.refetching import fetch_missing_sources
from data_miner_dagster.operations.extraction.workers import FrameWorkers
from data_miner_dagster.operations.foreign.media_requests import WindowsJob
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.operations.room import Room
from data_miner_dagster.stages.detection.windows import WantedTimes, num_looks, wanted_times
from data_miner_dagster.storage.atomic import atomic_folder, sweep_partials
from data_miner_dagster.storage.detection_parts import DetectionParts
from data_miner_dagster.storage.windows import read_stored_windows, read_windows

_WINDOWS_VERSION: Final = 1
"""Increment this when the same times in the same file yield different pictures."""
_VIDEOS_AT_ONCE: Final = 500
_MOST_DECODER_THREADS: Final = 4

logger = logging.getLogger(__name__)


def windows_fingerprint(config: ExtractionConfig, video_sha256: str | None) -> str:
    """Return the fingerprint of the pictures around a video's frames. It does not cover the pictures' times.

    `video_sha256` is the digest of the video's file, or None if the catalog does not have it.
    """
    pictures = {"format": config.image_format, "quality": config.jpeg_quality}
    return fingerprint_of({"video": video_sha256, "pictures": pictures, "version": _WINDOWS_VERSION})


class Neighbours:
    """The pictures around the frames of one project. The caller must hold the project's claim."""

    def __init__(
        self,
        platform: Platform,
        project: str,
        config: TrackingConfig,
        frames: Sequence[FrameToDetect],
        parts: Mapping[str, DetectionParts],
        sessions: VideoSessions | None = None,
    ) -> None:
        """Group the frames by video. Folders of pictures are left out, since they have no video file to decode.

        Args:
            platform: the platform of one root.
            project: the name of the project.
            config: the settings of tracking.
            frames: the representatives, ordered by frame id.
            parts: each detector's results on the frames, by detector name. Their fingerprints cover the classes and
                settings.
            sessions: the network that follows objects and examines the pictures, or None if the detectors examine them.
        """
        self.config = config
        self.failed: dict[str, str] = {}
        """The reasons why objects cannot be followed, by video key."""
        self._platform = platform
        self._project = project
        self._sessions = sessions
        self._fingerprints = {} if sessions else {name: part.fingerprint for name, part in parts.items()}
        self._frames = {  # by video, ordered by time
            video_key: tuple(group)
            for video_key, group in groupby(frames, key=lambda frame: frame.video_key)
            if not has_foreign_pictures(video_key)
        }
        self._times = {key: tuple(frame.pts_seconds for frame in group) for key, group in self._frames.items()}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Open the resources that all videos share."""
        self._guard = self._open.enter_context(item_guard("detections"))
        self._workers = self._open.enter_context(FrameWorkers())
        if self._sessions is not None:
            self._open.enter_context(self._sessions)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Close the resources. Record the internal errors unless they have a common cause or the block raised.

        Raises:
            SystematicFaultError: the same internal error occurred on all videos (three or more), or on ten in a row.
            OutageError: the same temporary error occurred on all videos (three or more), or on ten in a row.
        """
        return self._open.__exit__(kind, error, trace)

    def prepare(self) -> None:
        """Decode the pictures of each video that lacks some. Missing video files are downloaded again.

        The maximum number of pictures is logged first.

        Raises:
            SourcesMissingError: a video file is missing, and the platform is offline.
            OutageError: a network, disk or memory error affects all videos.
            SystematicFaultError: the same internal error occurred on all videos (three or more), or on ten in a row.
        """
        rows, keys = dict[str, VideoRow](), iter(self._times)
        while some := set(islice(keys, _VIDEOS_AT_ONCE)):
            found = {row.key: row for row in find_videos(self._platform.database, some)}
            self.failed |= dict.fromkeys(some - found.keys(), "the video is no longer in the catalog")
            rows |= {key: row for key, row in found.items() if self._lacks_pictures(row)}
        if not rows:
            return
        self._say_cost(rows)
        gone = [row for row in rows.values() if not self._has_source(row)]
        fetched = fetch_missing_sources(self._platform, gone)
        room, steps = Room(self._platform), self._steps("this run has decoded the pictures of", len(rows))
        for key in rows:
            work = partial(self._attempt, key, room, fetched[key].message if key in fetched else "")
            self._guard.attempt(key, work, partial(self._take_fault, key))
            steps.advance()
        self._guard.finish()  # failures must be known before the boxes are decided
        self._workers.close()  # frees their memory, which detectors need

    def _take_fault(self, video_key: str, fault: ItemFault) -> None:
        self.failed[video_key] = fault.line

    def _say_cost(self, rows: Mapping[str, VideoRow]) -> None:
        looks = sum(num_looks(self._times[key], row.duration_seconds, self.config) for key, row in rows.items())
        num_frames = sum(len(self._times[key]) for key in rows)
        videos = counted(len(rows), "video")
        where = f"from {videos}" if self.config.whole_clip else f"around {counted(num_frames, 'frame')} of {videos}"
        logger.info(
            "detection: to follow objects, up to %s %s will be decoded, stored, and examined by %s",
            counted(looks, "picture"),
            where,
            counted(len(self._fingerprints), "detector")
            if self._sessions is None
            else f"the tracker {self._sessions.role.name}",
        )

    def _wanted(self, video_key: str) -> WantedTimes:
        return wanted_times(self._times[video_key], self.config)

    def _has_source(self, row: VideoRow) -> bool:
        return bool(row.file_name) and (self._platform.layout.video_folder(row.key) / (row.file_name or "")).is_file()

    def _fingerprint_of(self, row: VideoRow) -> str:
        return windows_fingerprint(self._platform.config.extraction, row.sha256)

    def _lacks_pictures(self, row: VideoRow) -> bool:
        """Return whether a video must be decoded.

        This is the case if its list of pictures is missing, stale or incomplete, or if its pictures were removed and
        some of them have not been examined with the current settings.
        """
        video_key = row.key
        stored = read_stored_windows(self._platform.layout, video_key)
        if stored is None or stored.fingerprint != self._fingerprint_of(row):
            return True
        if not WantedTimes(stored.times_us, stored.steps_us).covers(self._wanted(video_key)):
            return True
        first = next(self.frames_of(video_key), None)
        if first is None or first.picture.path.is_file():
            return False
        if self._sessions is not None:
            return not self._sessions.is_complete(video_key, self._all_frames(video_key))
        return any(
            next(self._unseen(video_key, self._parts(name, video_key)), None) is not None for name in self._fingerprints
        )

    def _attempt(self, video_key: str, room: Room, why_gone: str) -> None:
        try:
            self._make(video_key, room, why_gone)
        except (VideoPermanentError, VideoTransientError, ClaimHeldError) as error:
            logger.warning("detection: objects are not followed in %s: %s", video_key, error)
            self.failed[video_key] = str(error)

    def _make(self, video_key: str, room: Room, why_gone: str) -> None:
        """Decode the pictures around a video's frames, and replace its folder of pictures atomically.

        The new folder also contains the pictures that other projects requested, unless the video file or the image
        settings have changed. Afterwards, the video file is removed if the settings keep it only until frames are
        extracted. If the video file is missing, nothing is decoded, and the video is added to `failed`.
        """
        layout, config = self._platform.layout, self._platform.config.extraction
        with self._platform.hold_video(video_key) as claim:
            row = find_video(self._platform.database, video_key)
            if row is None or not self._has_source(row):
                self.failed[video_key] = f"the video's file is missing{f': {why_gone}' if why_gone else ''}"
                logger.warning("detection: objects are not followed in %s: %s", video_key, self.failed[video_key])
                return
            fingerprint, wanted = self._fingerprint_of(row), self._wanted(video_key)
            stored = read_stored_windows(layout, video_key)
            if stored is not None and stored.fingerprint == fingerprint:
                wanted |= WantedTimes(stored.times_us, stored.steps_us)
            sweep_partials(layout.windows, video_key)
            with self._platform.working_under(claim), atomic_folder(layout.windows_folder(video_key)) as folder:
                self._workers.store_windows(
                    WindowsJob(
                        video_path=layout.video_folder(video_key) / (row.file_name or ""),
                        folder=folder,
                        fingerprint=fingerprint,
                        config=config,
                        num_threads=min(_MOST_DECODER_THREADS, os.cpu_count() or 1),
                        times_us=tuple(sorted(wanted.times_us)),
                        steps_us=tuple(sorted(wanted.steps_us)),
                    )
                )
            if self._platform.config.room.source_videos == "until_extracted":
                room.remove_source_held(row)

    def frames_of(self, video_key: str) -> Iterator[FrameToDetect]:
        """Yield the pictures that this project needs around a video's frames, ordered by time.

        Pictures at the times of the frames themselves are omitted.

        Raises:
            FileNotFoundError: the list of pictures is missing.
            DamagedFileError: the list of pictures is damaged.
        """
        wanted, of_frames = self._wanted(video_key), frozenset(self._times[video_key])
        for row in read_windows(self._platform.layout, video_key):
            if row["pts_seconds"] not in of_frames and any(map(wanted.holds, row["times_us"])):
                yield self._frame(video_key, row)

    def _all_frames(self, video_key: str) -> Iterator[FrameToDetect]:
        """Yield a video's frames and the pictures around them, ordered by time."""
        pictures = self.frames_of(video_key)
        return heapq.merge(self._frames[video_key], pictures, key=lambda frame: frame.pts_seconds)

    def _frame(self, video_key: str, row: Mapping[str, Any]) -> FrameToDetect:
        path = self._platform.layout.windows_folder(video_key) / row["file_name"]
        return FrameToDetect(
            frame_id=f"{video_key}@{row['pts']}",
            video_key=video_key,
            frame_index=0,
            pts_seconds=row["pts_seconds"],
            picture=PictureFile(path, is_foreign=False),
            sha256=row["sha256"],
            resolution_wh=(row["width"], row["height"]),
        )

    def followed(self, video_key: str) -> bool:
        """Return whether the objects of a video can be followed."""
        return video_key in self._times and video_key not in self.failed

    def parts_of(self, video_key: str) -> list[DetectionParts]:
        """Return each detector's stored results on the pictures around a video's frames, in the order of the detectors.

        The list is empty if a network follows the objects.
        """
        return [self._parts(name, video_key) for name in self._fingerprints]

    @property
    def part_folders(self) -> list[Path]:
        """The folders of results on the pictures: one per detector, or one for the network that follows objects."""
        if self._sessions is not None:
            return [self._sessions.folder]
        layout, items = self._platform.layout, self._fingerprints.items()
        return [layout.window_parts_of(self._project, name, fingerprint) for name, fingerprint in items]

    def _parts(self, detector: str, video_key: str) -> DetectionParts:
        fingerprint = self._fingerprints[detector]
        folder = self._platform.layout.window_parts_of(self._project, detector, fingerprint)
        return DetectionParts(folder / video_key, fingerprint, COLOURED_DETECTIONS_SCHEMA)

    def _unseen(self, video_key: str, parts: DetectionParts) -> Iterator[FrameToDetect]:
        seen = parts.seen()
        return (frame for frame in self.frames_of(video_key) if seen.get(frame.frame_id) != frame.sha256)

    def look_at(self, looker: Looker, detector: DetectorRole) -> None:
        """Have a detector examine the pictures that it has not examined yet. A killed run loses at most one part.

        If a network follows the objects, the detector examines nothing.
        """
        if self._sessions is not None:
            return
        followed = list(filter(self.followed, self._times))
        steps = self._steps(f"{detector.name} has examined the pictures of", len(followed))
        for video_key in followed:
            parts = self._parts(detector.name, video_key)
            parts.prepare()
            unseen = self._unseen(video_key, parts)
            while some := list(islice(unseen, PART_FRAMES)):
                looker.look_at(some, lambda _: None, parts, is_told=False)
            steps.advance()

    def _steps(self, what: str, num_videos: int) -> Steps:
        return Steps(f"detection: to follow objects, {what}", "videos", num_videos, self._platform)

    def follow_objects(self) -> None:
        """Have the network follow the objects in videos whose results are incomplete.

        If the detectors examine the pictures instead, nothing happens.

        Raises:
            ConfigError: a phrase is too long for the network.
            ModelError: the network cannot be loaded, or there is too little memory.
            SystematicFaultError: the same internal error occurred on all videos (three or more), or on ten in a row.
            OutageError: the same temporary error occurred on all videos (three or more), or on ten in a row.
        """
        if self._sessions is None:
            return
        for video_key in filter(self.followed, self._times):
            work = partial(self._follow, self._sessions, video_key)
            self._guard.attempt(video_key, work, partial(self._take_fault, video_key))
        self._guard.finish()

    def _follow(self, sessions: VideoSessions, video_key: str) -> None:
        try:
            sessions.look_at(video_key, partial(self._all_frames, video_key))
        except UnreadableImageError as error:
            self.failed[video_key] = f"a picture cannot be read: {error}"
            logger.warning("detection: objects are not followed in %s: %s", video_key, self.failed[video_key])

    def settle(self) -> None:
        """Remove the pictures of the followed videos unless the settings keep them. Each list of pictures remains.

        Call this after all pictures have been examined.
        """
        if self.config.keep_windows:
            return
        for video_key in filter(self.followed, self._times):
            folder = self._platform.layout.windows_folder(video_key)
            for row in read_windows(self._platform.layout, video_key):
                (folder / row["file_name"]).unlink(missing_ok=True)
