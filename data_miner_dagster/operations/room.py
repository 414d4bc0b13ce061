"""Measure the disk usage of the root, apply the quota to downloads, and remove files to free space.

Only files that can be obtained again are removed: source files of videos that are not in progress, and frames and
embeddings that nothing needs. The catalog keeps all facts about a video, and `info.json` stays.

Belongs here: files, and reservations for downloads. Does not belong here: deciding whether a download may start
(stages/downloading/room.py).
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.backups import keys_wanted_in_copies
from data_miner_dagster.catalog.database import Session
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.catalog.room import (
    VideosRoom,
    lock_room,
    promise_room,
    record_frames_bytes,
    record_frames_removed,
    record_source_removed,
    removable_sources,
    unmeasured_frames,
    unwanted_frames,
    videos_room,
)
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.videos import find_video, find_videos, unwanted_videos
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import ClaimHeldError, ConfigError, DataMinerError
from data_miner_dagster.domain.keys import FRAMES_PREFIX
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.models.provider import THUMBNAILS
from data_miner_dagster.operations.item_faults import attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.downloading.room import (
    FRAMES_PER_BYTE,
    RoomAnswer,
    RoomState,
    filled_limit,
    may_download,
)
from data_miner_dagster.storage.changing_folders import paths_below
from data_miner_dagster.storage.frames import has_frames
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.room import files_size, rest_size

_REST_LASTS: Final = 50.0
"""How long a measurement of files other than videos and frames stays valid, as a multiple of the time that it took."""
_SHORTEST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 30.0
"""While waiting for space, a caller checks again after at most this many seconds, even if nothing has happened."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RoomUsage:
    """The disk usage of a root, in bytes."""

    videos: VideosRoom
    rest: int  # everything except files of videos and frames

    @property
    def total(self) -> int:
        """The number of bytes on disk now."""
        return self.videos.sources + self.videos.frames + self.rest

    @property
    def frames_per_byte(self) -> float:
        """The size of a video's frames relative to the video: measured, or a typical ratio if nothing was measured."""
        return FRAMES_PER_BYTE if self.videos.frames_per_byte is None else self.videos.frames_per_byte

    @property
    def held(self) -> int:
        """The number of bytes on disk, plus the expected size of frames not yet extracted from existing videos."""
        return self.total + round(self.frames_per_byte * self.videos.to_extract)


@dataclass(frozen=True, slots=True)
class Removable:
    """Files that can be removed together. `remove` removes them and returns the number of bytes freed."""

    name: str
    size_bytes: int
    remove: Callable[[], int]


@dataclass(frozen=True, slots=True)
class RoomFound:
    """The decision on whether a download may start now.

    If `answer` is not YES, `message` is the reason as one line, and `wait_seconds` is the time until the next check.
    """

    answer: RoomAnswer
    message: str = ""
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Wish:
    """The space that a download will need."""

    promised: int  # upper limit, including frames
    source: int  # expected size of the file
    frames: int  # expected size of the frames


class Room:
    """The disk space of one root, for one call of an operation. Thread-safe."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._config = platform.config.room
        self._lock = threading.Lock()
        self._rest = 0
        self._rest_holds_until = -1.0  # time.monotonic()
        self._nothing_at: int | None = None  # the bytes in use at the last attempt, if nothing could be removed

    @property
    def is_limited(self) -> bool:
        """True if there is a quota."""
        return self._config.quota is not None

    def usage(self, but_promised_to: str = "") -> RoomUsage:
        """Return the current disk usage, without the space reserved for the video `but_promised_to`.

        Frames whose size is missing from the catalog are measured, and their sizes are stored there.
        """
        with self._platform.database.reading() as session:
            unmeasured = unmeasured_frames(session)
        if unmeasured:  # happens once, for frames that an earlier version wrote
            sizes = {key: files_size(self._platform.layout.frames_folder(key)) for key in unmeasured}
            with self._platform.database.transaction() as session:
                record_frames_bytes(session, sizes)
        with self._platform.database.reading() as session:
            videos = videos_room(session, but_promised_to=but_promised_to)
        return RoomUsage(videos, self._measured_rest())

    def videos(self) -> VideosRoom:
        """Return the disk usage of videos from the catalog, without reading files."""
        with self._platform.database.reading() as session:
            return videos_room(session)

    def _measured_rest(self) -> int:
        if time.monotonic() >= self._rest_holds_until:
            started = time.monotonic()
            at_work = {row.key for row in find_videos(self._platform.database, statuses={VideoStatus.DOWNLOADING})}
            self._rest = rest_size(self._platform.layout, at_work)
            ended = time.monotonic()
            self._rest_holds_until = ended + _REST_LASTS * (ended - started)
        return self._rest

    # --- downloads ---

    def make_for(self, row: VideoRow) -> RoomFound:
        """Remove files if a video would not fit under the quota. Return whether its download may start."""
        quota = self._config.quota
        if quota is None:
            return RoomFound(RoomAnswer.YES)
        with self._lock:
            usage = self.usage(row.key)
            wish = self._wish_of(row, usage)
            lacking = usage.held + usage.videos.promised + wish.source + wish.frames - filled_limit(quota)
            if lacking > 0 and self.free(lacking):
                usage = self.usage(row.key)
        return self._answer(usage, wish, quota)

    def promise(self, session: Session, row: VideoRow) -> RoomFound:
        """Return whether a download may start. If so, and if there is a quota, reserve the download's space.

        `session` is the transaction that starts the download. The caller must have called `make_for`, which measures
        the other files under the root.
        """
        quota = self._config.quota
        if quota is None:
            return RoomFound(RoomAnswer.YES)
        lock_room(self._platform.database, session)
        usage = RoomUsage(videos_room(session, but_promised_to=row.key), self._rest)
        wish = self._wish_of(row, usage)
        found = self._answer(usage, wish, quota)
        if found.answer is RoomAnswer.YES:
            promise_room(session, row.key, wish.promised)
        return found

    def _answer(self, usage: RoomUsage, wish: _Wish, quota: int) -> RoomFound:
        videos = usage.videos
        idle = timedelta.max if videos.last_progress is None else utc_now() - videos.last_progress
        state = RoomState(
            quota=quota,
            held=usage.held,
            promised=videos.promised,
            is_extracting=videos.num_to_extract > 0 and self._config.source_videos != "always",
            goes_on_beyond=self._config.over_quota == "one_at_a_time",
        )
        return RoomFound(
            may_download(state, wish.frames),
            f"the video is waiting for disk space: {size_text(usage.held + videos.promised)} of the quota of "
            f"{size_text(quota)} is in use or reserved",
            min(max(idle.total_seconds(), _SHORTEST_WAIT), _LONGEST_WAIT),
        )

    def _wish_of(self, row: VideoRow, usage: RoomUsage) -> _Wish:
        config = self._platform.config.downloading
        known = _known_size(row, config)
        expected = min(config.max_size_bytes, usage.videos.typical_source) if known is None else known
        frames = round(usage.frames_per_byte * expected)
        return _Wish(frames + (config.max_size_bytes if known is None else known), expected, frames)

    # --- removing ---

    def settle(self) -> None:
        """Remove files if the space in use, expected or reserved exceeds the part of the quota that may be filled."""
        quota = self._config.quota
        if quota is None:
            return
        with self._lock:
            usage = self.usage()
            lacking = usage.held + usage.videos.promised - filled_limit(quota)
            if lacking > 0:
                self.free(lacking)

    def free(self, num_bytes: int) -> int:
        """Remove files until `num_bytes` are freed or the policies allow no more. Return the number of bytes freed.

        If an earlier attempt at the same disk usage freed nothing, no file is removed.
        """
        taken = self.usage().total
        if taken == self._nothing_at:
            return 0
        gained = 0
        for removable in self.removable():
            if gained >= num_bytes:
                break
            freed = attempt_alone("room", removable.name, removable.remove)
            gained += freed if isinstance(freed, int) else 0
        self._nothing_at = None if gained else taken
        if gained:
            logger.info("removed %s to free space", size_text(gained))
        return gained

    def removable(self) -> Iterator[Removable]:
        """Yield the files that may be removed under a quota, in the order of removal."""
        if self._config.source_videos != "always":
            yield from self.removable_sources()
        if self._config.unneeded_frames != "always":
            yield from self.removable_frames()
        if self._config.caches != "always":
            yield from self.removable_caches()

    def removable_sources(self) -> Iterator[Removable]:
        """Yield the source files of extracted videos, then of failed videos and of downloads that no project wants.

        In both groups, the least recently changed videos come first.
        """
        with self._platform.database.reading() as session:
            videos = removable_sources(session)
        for video in videos:
            yield Removable(video.key, video.size_bytes, partial(self._remove_source, video.key))

    def removable_frames(self) -> Iterator[Removable]:
        """Yield the frames of videos that no project, release or copy of the catalog needs."""
        with self._platform.database.reading() as session:
            videos = unwanted_frames(session)
        needed = self._keys_needed() if videos else None
        for video in videos:
            if needed is not None and video.key not in needed:
                yield Removable(video.key, video.size_bytes, partial(self._remove_frames, video.key))

    def removable_caches(self) -> Iterator[Removable]:
        """Yield embeddings of unused encoders, and embeddings of videos that nothing needs."""
        layout = self._platform.layout
        in_use = self._encoders_in_use()
        for folder in sorted(layout.embeddings.iterdir()) if layout.embeddings.is_dir() else ():
            if folder.is_dir() and not folder.name.startswith(".") and folder.name not in in_use:
                yield Removable(folder.name, files_size(folder), partial(_remove_tree, folder))
        unwanted = {video.key for video in unwanted_videos(self._platform.database)}
        needed = self._keys_needed() if unwanted else None
        for key in sorted(unwanted - needed) if needed is not None else ():
            for path in layout.embedding_files(key):
                yield Removable(str(path.relative_to(layout.root)), files_size(path), partial(_remove_tree, path))

    def _encoders_in_use(self) -> set[str]:
        names = {self._platform.models.filter_encoder.name, THUMBNAILS.name}
        for project in find_projects(self._platform.database):
            try:
                is_in_use = bool(self._platform.project_config(project.name).uses_of_dedup_encoder)
            except ConfigError:
                is_in_use = True  # perhaps: its stored settings do not fit this version
            names |= {self._platform.models.dedup_encoder.name} if is_in_use else set()
        return names

    def _keys_needed(self) -> set[str] | None:
        """Return the keys of the videos whose frames are needed by a release on disk or a copy of the catalog.

        The result is None if a release cannot be read, because its videos are then unknown.
        """
        releases, file = self._platform.layout.releases, self._platform.database.file
        needed = keys_wanted_in_copies(file) if file is not None else set[str]()
        for folder in paths_below(releases, "*/*"):
            try:
                manifest = read_manifest(folder)
            except DataMinerError as error:
                logger.warning("no frames or embeddings of videos are removed to free space: %s", error)
                return None
            if manifest is not None:
                needed |= set(manifest["splits"]["by_video"])
        return needed

    def _remove_source(self, key: str) -> int:
        try:
            with self._platform.hold_video(key, wait_seconds=0):
                row = find_video(self._platform.database, key)
                return 0 if row is None else self.remove_source_held(row)
        except ClaimHeldError:
            return 0

    def remove_source_held(self, row: VideoRow) -> int:
        """Remove a video's file if it can be obtained again. Return the bytes freed. The caller holds the claim.

        A hard link to the user's own file is kept, since removing it would free nothing. It no longer counts as usage.
        """
        path = self._platform.layout.video_folder(row.key) / (row.file_name or "")
        if not row.file_name or row.stored_bytes is None or not _can_be_had_again(self._platform.layout, row):
            return 0
        gained, left = 0, None
        if path.is_file():
            status = path.stat()
            if status.st_nlink > 1:  # a second name of the user's own file: removing it frees nothing
                left = 0
            else:
                path.unlink()
                gained = status.st_size
        with self._platform.database.transaction() as session:
            record_source_removed(session, row.key, left)
        return gained

    def _remove_frames(self, key: str) -> int:
        folder = self._platform.layout.frames_folder(key)
        try:
            with self._platform.hold_video(key, wait_seconds=0):
                with self._platform.database.transaction() as session:
                    if not record_frames_removed(session, key):
                        return 0
                return _remove_tree(folder) if folder.is_dir() else 0
        except ClaimHeldError:
            return 0


def _known_size(row: VideoRow, config: DownloadingConfig) -> int | None:
    """Return the number of bytes that a video's file will use, or None if it is not known before the download.

    The number is 0 for a folder of pictures and for a hard link, since nothing is copied. It is also 0 for an
    unreadable path.
    """
    if row.key.startswith(FRAMES_PREFIX):
        return 0  # pictures stay in place
    if row.origin is Origin.LOCAL:
        try:
            return 0 if config.local_files == "hardlink" else Path(row.url).stat().st_size
        except OSError:
            return 0  # the path cannot be read; the download will report the reason
    return row.size_bytes if row.sha256 is not None else None


def _can_be_had_again(layout: StorageLayout, row: VideoRow) -> bool:
    """Return whether a video's file can be downloaded again, or copied again from the user's own file.

    The result is False if missing frames must be extracted again from the file.
    """
    if row.status is VideoStatus.EXTRACTED and not has_frames(layout, row.key):
        return False  # the file is needed to recreate them
    if row.origin is not Origin.LOCAL:
        return True
    try:
        return Path(row.url).stat().st_size == row.size_bytes
    except OSError:
        return False  # the file under the root is the only copy left


def _remove_tree(path: Path) -> int:
    size_bytes = files_size(path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return size_bytes
