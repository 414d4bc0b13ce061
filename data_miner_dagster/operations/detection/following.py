"""Follow objects through a video's frames and the pictures around them (`detection.tracking`)."""

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.colours import Colours
from data_miner_dagster.domain.tables import (
    COLOURED_DETECTIONS_SCHEMA,
    RECOVERED_COLUMN,
    TRACK_ID_COLUMN,
    TRACKED_FRAMES_SCHEMA,
    TRACKS_SCHEMA,
)
from data_miner_dagster.domain.versions import TRACKING_VERSION
from data_miner_dagster.models.trackers.byte_track import ByteTracker, check_installed
from data_miner_dagster.operations.detection.colours import ColourReader, StoredBoxes, colours_of, stored_boxes
from data_miner_dagster.operations.detection.deciding import boxes_by_frame, fused
from data_miner_dagster.operations.detection.neighbours import Neighbours
from data_miner_dagster.operations.detection.not_followed import read_not_followed
from data_miner_dagster.operations.detection.runs import FrameToDetect
from data_miner_dagster.operations.detection.sessions import SESSIONS_VERSION, VideoSessions
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.trackers import ObjectTracker
from data_miner_dagster.stages.detection.boxes import FrameDetections, detection_rows
from data_miner_dagster.stages.detection.following import LOST_WINDOWS, FollowedFrame, ObservedFrame, follow
from data_miner_dagster.stages.detection.session_objects import SessionTracker, as_detections
from data_miner_dagster.storage.detection_parts import DetectionParts, FoundBoxes, remove_other_parts
from data_miner_dagster.storage.tables import (
    add_fingerprint,
    read_fingerprint,
    read_table,
    table_from_rows,
    table_writer,
)

_FRAMES_AT_ONCE: Final = 256
_ROWS_PER_GROUP: Final = 2_000
_COLOURS_SCHEMA: Final = pa.schema([field for field in COLOURED_DETECTIONS_SCHEMA if field.name != "mask"])


@dataclass(slots=True)
class TrackTables:
    """Writes the whole-clip tracks of a project, video by video, in bounded memory."""

    frames: pq.ParquetWriter
    tracks: pq.ParquetWriter
    config: DetectionConfig
    _frame_rows: list[dict[str, Any]] = field(default_factory=list)
    _track_rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, number: int, followed: FollowedFrame[FrameToDetect], frame_id: str | None) -> None:
        """Add one frame of a video, and the objects in it. Rows are written when enough are in memory.

        Args:
            number: the position of the frame among the tracked frames of its video, counting from 0.
            followed: the frame and its boxes. Boxes without a track are left out.
            frame_id: the id of the frame if it is a representative, or None if it is a neighbouring picture.
        """
        frame = followed.frame
        width, height = frame.resolution_wh
        place = {
            "video_key": frame.video_key,
            "tracked_frame": number,
            "pts_seconds": frame.pts_seconds,
            "frame_id": frame_id,
        }
        self._frame_rows.append(place | {"stretch": followed.stretch, "width": width, "height": height})
        rows = detection_rows(
            frame.frame_id, frame.video_key, 0, followed.found, classes=self.config.class_prompts, detector=""
        )
        tracked = [row | place for row in rows if row["track_id"] is not None]
        self._track_rows += [
            {name: row.get(name) for name in TRACKS_SCHEMA.names}
            for row in sorted(tracked, key=lambda row: int(str(row["track_id"])))
        ]
        if len(self._frame_rows) >= _ROWS_PER_GROUP or len(self._track_rows) >= _ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are in memory."""
        self.frames.write_table(table_from_rows(self._frame_rows, TRACKED_FRAMES_SCHEMA))
        self.tracks.write_table(table_from_rows(self._track_rows, TRACKS_SCHEMA))
        self._frame_rows, self._track_rows = [], []


@dataclass(slots=True)
class FrameColours:
    """The colours stored with each detector's boxes on a project's frames."""

    frames: Sequence[FrameToDetect]
    parts: Sequence[DetectionParts]
    reader: ColourReader
    _found: Sequence[FoundBoxes] | None = None

    def stored_on(self, frames: Sequence[FrameToDetect]) -> list[Mapping[str, StoredBoxes]]:
        """Return the stored boxes of each detector on `frames`, by frame id."""
        if self._found is None:  # before objects are followed, parts are incomplete
            sha256_by_frame = {frame.frame_id: frame.sha256 for frame in self.frames}
            self._found = [replace(part, boxes_schema=_COLOURS_SCHEMA).found(sha256_by_frame) for part in self.parts]
        return [stored_boxes(found.of(frame.frame_id for frame in frames)) for found in self._found]


class VideoFollower:
    """Follows the objects in a project's videos, one video at a time."""

    def __init__(
        self,
        neighbours: Neighbours,
        config: DetectionConfig,
        coloured: FrameColours,
        sessions: VideoSessions | None = None,
    ) -> None:
        """Create a follower, which writes whole-clip tracks only while `tables` is set.

        Args:
            neighbours: the pictures around the frames, with the stored results on these pictures.
            config: the settings of detection.
            coloured: the colours in the detectors' boxes on the frames.
            sessions: the results of the network that follows objects. If it is None, ByteTrack links the detectors'
                boxes.
        """
        self.neighbours = neighbours
        self._coloured = coloured
        self._sessions = sessions
        self.config = config
        self._tracking = neighbours.config
        self.tables: TrackTables | None = None
        """The tables of whole-clip tracks while they are being written (`writing_tracks`), else None."""

    def follow(self, frames: Sequence[FrameToDetect], decided: Sequence[FrameDetections]) -> list[FrameDetections]:
        """Return the boxes on the frames of one video after following its objects.

        Objects are followed through these frames and the pictures around them. If the video cannot be followed,
        `decided` is returned unchanged. Otherwise, tracks are added to `tables` if that is not None.

        Args:
            frames: the frames of one video, ordered by time.
            decided: the boxes on each frame.
        """
        video_key = frames[0].video_key if frames else ""
        if not frames or not self.neighbours.followed(video_key):
            return list(decided)
        own = {frame.frame_id: position for position, frame in enumerate(frames)}
        found = dict(zip(own, decided, strict=True))
        if self._sessions is not None:
            observed = self._seen_in_sessions(self._sessions, video_key, frames, found)
        else:
            observed = heapq.merge(
                self._on_frames(frames, decided), self._around(video_key), key=lambda frame: frame.pts_seconds
            )
        for number, followed in enumerate(follow(observed, self._tracking, self._new_tracker)):
            frame_id = followed.frame.frame_id if followed.frame.frame_id in own else None
            if frame_id is not None:
                found[frame_id] = followed.found
            if self.tables is not None:
                self.tables.add(number, followed, frame_id)
        return list(found.values())

    def _observed(
        self, frame: FrameToDetect, boxes: FrameDetections, *, is_wanted: bool = True
    ) -> ObservedFrame[FrameToDetect]:
        return ObservedFrame(frame, frame.pts_seconds, frame.resolution_wh, boxes, is_wanted)

    def _on_frames(
        self, frames: Sequence[FrameToDetect], decided: Sequence[FrameDetections]
    ) -> Iterator[ObservedFrame[FrameToDetect]]:
        for start in range(0, len(frames), _FRAMES_AT_ONCE):
            some = frames[start : start + _FRAMES_AT_ONCE]
            stored = self._coloured.stored_on(some)
            for frame, boxes in zip(some, decided[start : start + _FRAMES_AT_ONCE], strict=True):
                yield replace(self._observed(frame, boxes), colours=self._colours_on(frame, boxes, stored))

    def _colours_on(
        self, frame: FrameToDetect, found: FrameDetections, stored: Sequence[Mapping[str, StoredBoxes]]
    ) -> Sequence[Colours | None]:
        of_detectors = [by_frame[frame.frame_id] for by_frame in stored if frame.frame_id in by_frame]
        complete = self._coloured.reader.complete(frame.picture, frame.sha256, of_detectors)
        return colours_of(found, complete, self.config.class_prompts)

    def _around(self, video_key: str) -> Iterator[ObservedFrame[FrameToDetect]]:
        """Yield the pictures around a video's frames, with their boxes, ordered by time.

        Pictures that a detector has not examined are left out.
        """
        parts = self.neighbours.parts_of(video_key)
        seen = [part.seen() for part in parts]
        pictures = self.neighbours.frames_of(video_key)
        # Boxes are read for a few pictures at a time, so a video's boxes are never all in memory.
        boxes: list[FoundBoxes] = [part.found(of_part) for part, of_part in zip(parts, seen, strict=True)]
        while some := list(islice(pictures, _FRAMES_AT_ONCE)):
            some = [frame for frame in some if all(of.get(frame.frame_id) == frame.sha256 for of in seen)]
            tables = [of.of(frame.frame_id for frame in some) for of in boxes]
            by_frame = [boxes_by_frame(table, self.config) for table in tables]
            stored = [stored_boxes(table) for table in tables]
            for frame in some:
                found = fused(frame.frame_id, by_frame, self.config)
                observed = self._observed(frame, found, is_wanted=self._tracking.whole_clip)
                yield replace(observed, colours=self._colours_on(frame, found, stored))

    def _seen_in_sessions(
        self,
        sessions: VideoSessions,
        video_key: str,
        frames: Sequence[FrameToDetect],
        decided: Mapping[str, FrameDetections],
    ) -> Iterator[ObservedFrame[FrameToDetect]]:
        """Yield a video's frames and the pictures around them, ordered by time, with their boxes and objects.

        The objects come from the network. The boxes on a frame come from the detectors, and the boxes on the pictures
        around it from the network. Pictures that the network has not examined are left out.
        """
        parts = sessions.parts_of(video_key)
        looked_at = parts.seen()
        stored = parts.found(looked_at)
        ordered = heapq.merge(frames, self.neighbours.frames_of(video_key), key=lambda frame: frame.pts_seconds)
        while some := list(islice(ordered, _FRAMES_AT_ONCE)):
            objects = sessions.objects_of(stored.of(frame.frame_id for frame in some))
            for frame in some:
                is_seen = looked_at.get(frame.frame_id) == frame.sha256
                seen = objects.get(frame.frame_id, []) if is_seen else None
                own = decided.get(frame.frame_id)
                if own is not None or seen is not None:
                    is_wanted = own is not None or self._tracking.whole_clip
                    boxes = as_detections(seen or ()) if own is None else own
                    yield replace(self._observed(frame, boxes, is_wanted=is_wanted), seen=seen)

    @property
    def _new_tracker(self) -> Callable[[], ObjectTracker]:
        if self._sessions is not None:
            return partial(SessionTracker, start_confidence=self._tracking.start_confidence)
        return partial(
            ByteTracker,
            lost_seconds=LOST_WINDOWS * self._tracking.window_seconds,
            every_seconds=self._tracking.every_seconds,
            start_confidence=self._tracking.start_confidence,
        )


def check_can_follow(platform: Platform, config: DetectionConfig) -> None:
    """Check, without loading a model, that objects can be followed if the settings request tracking.

    Raises:
        ConfigError: the tracking model does not exist, cannot follow objects, or has a licence that is not allowed.
        ModelError: the tracking library or the tracking model is missing, or the checkpoint is of the wrong kind.
    """
    if config.tracker_model is not None:
        platform.models.check_tracker_available(config.tracker_model)
    elif config.tracking is not None:
        check_installed()


@contextmanager
def following(
    platform: Platform,
    project: str,
    config: DetectionConfig,
    frames: Sequence[FrameToDetect],
    parts: Mapping[str, DetectionParts],
    not_followed: Collection[str] = (),
) -> Iterator[VideoFollower | None]:
    """Decode the pictures around a project's frames, then yield a follower of the project's objects.

    If the settings do not request tracking, nothing is decoded, and None is yielded.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        config: the settings of detection.
        frames: the representatives, ordered by frame id.
        parts: the stored results of each detector, by detector name.
        not_followed: the keys of videos to treat as if they could not be followed.

    Raises:
        SourcesMissingError: a video file is missing, and the platform is offline.
        OutageError: a network, disk or memory error affects all videos.
        SystematicFaultError: the same internal error occurred on all videos (three or more), or on ten in a row.
    """
    if config.tracking is None:
        yield None
        return
    to_follow = [frame for frame in frames if frame.video_key not in not_followed]
    sessions = None
    if config.tracker_model is not None:
        role = platform.models.video_tracker(config.tracker_model)
        sessions = VideoSessions(platform, project, role, config)
    with (
        Neighbours(platform, project, config.tracking, to_follow, parts, sessions) as neighbours,
        StoredPictures(platform.config.extraction) as pictures,
    ):
        neighbours.failed |= dict.fromkeys(not_followed, "the video was not followed in the release to rebuild")
        neighbours.prepare()
        coloured = FrameColours(frames, list(parts.values()), ColourReader(pictures))
        yield VideoFollower(neighbours, config, coloured, sessions)


@contextmanager
def writing_tracks(platform: Platform, project: str, follower: VideoFollower | None) -> Iterator[Callable[[str], None]]:
    """Have `follower` write whole-clip tracks during the block. Yield a function to call when all videos are done.

    The function writes the remaining rows, and the fingerprint that it receives. If whole-clip tracks are not
    requested, nothing is written.
    """
    if follower is None or not follower.neighbours.config.whole_clip:
        yield lambda _: None
        return
    layout = platform.layout
    with (
        table_writer(layout.tracks_table(project), TRACKS_SCHEMA, fingerprint=None) as tracks,
        table_writer(layout.tracked_frames_table(project), TRACKED_FRAMES_SCHEMA, fingerprint=None) as frames,
    ):
        tables = follower.tables = TrackTables(frames, tracks, follower.config)

        def finish(fingerprint: str) -> None:
            tables.flush()
            for writer in (frames, tracks):
                add_fingerprint(writer, fingerprint)

        try:
            yield finish
        finally:
            follower.tables = None


def are_tracks_current(platform: Platform, project: str, config: DetectionConfig, fingerprint: str) -> bool:
    """Return whether a project's whole-clip tracks are current or not requested.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        config: the settings of detection.
        fingerprint: the fingerprint of the project's table of boxes.
    """
    if config.tracking is None or not config.tracking.whole_clip:
        return True
    paths = (platform.layout.tracks_table(project), platform.layout.tracked_frames_table(project))
    return all(read_fingerprint(path) == fingerprint for path in paths)


def forget_other_tracks(platform: Platform, project: str, follower: VideoFollower | None) -> None:
    """Remove whole-clip tracks that are not requested, and outdated results on the pictures around frames.

    If `follower` is not None, the pictures around the frames of followed videos are also removed, unless the settings
    keep them.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        follower: the follower of this run, or None if objects are not followed.
    """
    layout = platform.layout
    remove_other_parts(layout.window_parts(project), keep=follower.neighbours.part_folders if follower else [])
    if follower is not None:
        follower.neighbours.settle()
    if follower is None or not follower.neighbours.config.whole_clip:
        for path in (layout.tracks_table(project), layout.tracked_frames_table(project)):
            path.unlink(missing_ok=True)


def track_counts(platform: Platform, project: str) -> dict[str, int]:
    """Return the counts of tracks, of recovered boxes and, if there are any, of videos that were not followed."""
    counts = {"tracks": 0, "recovered_boxes": 0}
    columns = ["video_key", TRACK_ID_COLUMN, RECOVERED_COLUMN]
    boxes = read_table(platform.layout.detections_table(project), columns)
    counts["tracks"] = boxes.filter(pc.is_valid(boxes[TRACK_ID_COLUMN])).group_by(columns[:2]).aggregate([]).num_rows
    counts["recovered_boxes"] = pc.sum(boxes[RECOVERED_COLUMN], min_count=0).as_py()
    if not_followed := read_not_followed(platform.layout.detected_frames_table(project)):
        counts["videos_not_followed"] = len(not_followed)
    return counts


def tracking_settings(platform: Platform, config: DetectionConfig) -> Mapping[str, object]:
    """Return the settings and versions of tracking that a fingerprint covers, or an empty mapping without tracking.

    Raises:
        ModelError: the folder of the tracking model's `file:` source is missing.
    """
    if config.tracking is None:
        return {}
    dumped = config.tracking.model_dump(mode="json", exclude={"keep_windows", "tracker", "tracker_model"})
    settings: dict[str, object] = {"tracking": dumped, "tracking_version": TRACKING_VERSION}
    if config.tracker_model is not None:  # the model's fingerprint counts, not its name
        fingerprint = platform.models.video_tracker(config.tracker_model).fingerprint
        settings |= {"tracker": config.tracking.tracker.value, "tracker_model": fingerprint}
        settings |= {"sessions_version": SESSIONS_VERSION}
    return settings
