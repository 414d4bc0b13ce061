"""Run a video network on the frames of a project and the pictures around them, session by session.

A session covers at most `SESSION_FRAMES` consecutive frames and pictures. Its results are stored as one part, whose
name identifies the session's frames. After a kill, only incomplete sessions are repeated, with the same results.

Belongs here: running the network, and reading its results. Does not belong here: decoding the pictures
(neighbours.py), or matching the objects of different sessions (stages/detection/session_objects.py).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import model_call, note
from data_miner_dagster.domain.tables import OBJECT_NUMBER_COLUMN, SEEN_OBJECTS_SCHEMA
from data_miner_dagster.domain.tracks import SeenObject
from data_miner_dagster.models.provider import TrackerRole
from data_miner_dagster.operations.detection.runs import FrameToDetect, frame_row, remedy_of
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.protocols.trackers import VideoTracker
from data_miner_dagster.stages.detection.boxes import DetectionRow, detection_rows
from data_miner_dagster.stages.detection.following import are_apart
from data_miner_dagster.stages.detection.session_objects import (
    REPEATED_FRAMES,
    SESSION_FRAMES,
    FrameRun,
    ObjectNumbers,
    as_detections,
    session_runs,
)
from data_miner_dagster.storage.detection_parts import DetectionParts, PartName

SESSIONS_VERSION: Final = 1
"""Increment this when the same frames yield different objects."""


class VideoSessions:
    """Runs the network that follows a project's objects. The network is loaded when it is first used."""

    def __init__(self, platform: Platform, project: str, role: TrackerRole, config: DetectionConfig) -> None:
        self.role = role
        self._config = config
        self._open = ExitStack()
        self._extraction = platform.config.extraction
        assert config.tracking is not None
        self._window_seconds = config.tracking.window_seconds
        self.fingerprint = fingerprint_of(
            {
                "classes": [[wanted.class_name, list(wanted.prompts)] for wanted in config.class_prompts],
                "tracker": role.fingerprint,
                "window_seconds": self._window_seconds,
                "version": SESSIONS_VERSION,
            }
        )
        self.folder: Path = platform.layout.window_parts_of(project, role.name, self.fingerprint)

    def __enter__(self) -> Self:
        """Open the resources that all videos share."""
        self._pictures = self._open.enter_context(StoredPictures(self._extraction))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Close the resources."""
        return self._open.__exit__(kind, error, trace)

    @cached_property
    def _tracker(self) -> VideoTracker:
        return self.role.load()

    def parts_of(self, video_key: str) -> DetectionParts:
        """Return the network's stored results for a video."""
        return DetectionParts(self.folder / video_key, self.fingerprint, SEEN_OBJECTS_SCHEMA)

    def is_complete(self, video_key: str, frames: Iterable[FrameToDetect]) -> bool:
        """Return whether the results of all sessions of a video are stored.

        Args:
            video_key: the key of the video.
            frames: the video's frames and the pictures around them, ordered by time.
        """
        done = frozenset(self.parts_of(video_key).names())
        return all(name in done for _, name in self._runs(frames))

    def look_at(self, video_key: str, frames: Callable[[], Iterable[FrameToDetect]]) -> None:
        """Run the network for the incomplete sessions of a video, and store the results.

        A killed run loses at most one session. Results of sessions whose frames have changed are removed.

        Args:
            video_key: the key of the video.
            frames: returns the video's frames and the pictures around them, ordered by time. It is called twice.

        Raises:
            ConfigError: a phrase is too long for the network.
            ModelError: the network cannot be loaded, or there is too little memory.
            UnreadableImageError: one of the frames cannot be read. The message includes the remedy.
        """
        parts = self.parts_of(video_key)
        parts.prepare()
        parts.keep_only({name for _, name in self._runs(frames())})  # outdated parts can contain the same frames
        done = frozenset(parts.names())
        for run, name in self._runs(frames()):
            if name not in done:
                self._follow(run, name, parts)

    def _runs(self, frames: Iterable[FrameToDetect]) -> Iterator[tuple[FrameRun[FrameToDetect], PartName]]:
        """Yield the sessions of a video, each with the name of its part.

        The name depends on the frames of the session and of the earlier sessions that it continues.
        """
        digest = ""
        for run in session_runs(frames, self._is_broken, num_frames=SESSION_FRAMES, num_repeated=REPEATED_FRAMES):
            identity = {"frames": [[frame.frame_id, frame.sha256] for frame in run.frames]}
            digest = fingerprint_of({**identity, "before": digest if run.repeated else ""})
            yield run, PartName(run.ordinal, digest)

    def _is_broken(self, one: FrameToDetect, other: FrameToDetect) -> bool:
        is_resized = one.resolution_wh != other.resolution_wh
        return is_resized or are_apart(one.pts_seconds, other.pts_seconds, self._window_seconds)

    def _follow(self, run: FrameRun[FrameToDetect], name: PartName, parts: DetectionParts) -> None:
        """Run one session, and write the objects in its new frames.

        Objects in the frames that are repeated from the previous session are matched with that session's objects.
        """
        session = self._tracker.start(self._config.class_prompts)
        numbers = ObjectNumbers(run.ordinal)
        before = self.objects_on(parts, run.repeated)
        boxes: list[DetectionRow] = []
        looked_at: list[dict[str, str | int | float]] = []
        steps = Steps(f"detection: {self.role.name} has followed objects over", "frames", len(run.frames))
        for number, frame in enumerate((*run.repeated, *run.frames)):
            try:
                image = self._pictures.read(frame.picture, frame.sha256)
            except UnreadableImageError as error:
                raise UnreadableImageError(f"{error}; {remedy_of(frame)}") from error
            with model_call(self._tracker):
                seen = session.look_at(image)
            if number < len(run.repeated):
                numbers.repeat(seen, before.get(frame.frame_id, ()))
                numbers.numbered(seen)
                continue
            rows = self._rows_of(frame, numbers.numbered(seen))
            boxes += rows
            looked_at.append(frame_row(frame, parts.fingerprint, len(rows)))
            note(Measured(num_frames=1, num_boxes=len(rows)))
            steps.advance(1)
        parts.append(boxes, looked_at, name)
        steps.tell()

    def _rows_of(self, frame: FrameToDetect, seen: Sequence[SeenObject]) -> list[DetectionRow]:
        rows: list[DetectionRow] = []
        for each in seen:
            (row,) = detection_rows(
                frame.frame_id,
                frame.video_key,
                frame.frame_index,
                as_detections([each]),
                classes=self._config.class_prompts,
                detector=self.role.name,
            )
            rows.append({**row, OBJECT_NUMBER_COLUMN: each.number})
        return rows

    def objects_on(self, parts: DetectionParts, frames: Collection[FrameToDetect]) -> Mapping[str, list[SeenObject]]:
        """Return the stored objects in the given frames, by frame id. Frames without objects are omitted."""
        found = parts.found({frame.frame_id: frame.sha256 for frame in frames})
        return self.objects_of(found.of(frame.frame_id for frame in frames))

    def objects_of(self, table: pa.Table) -> dict[str, list[SeenObject]]:
        """Return the objects in rows of SEEN_OBJECTS_SCHEMA, by frame id."""
        class_index_by_name = {wanted.class_name: index for index, wanted in enumerate(self._config.class_prompts)}
        by_frame: dict[str, list[SeenObject]] = {}
        for row in table.to_pylist():
            seen = SeenObject(
                number=row[OBJECT_NUMBER_COLUMN],
                class_index=class_index_by_name[row["class_name"]],
                prompt=row["prompt"],
                confidence=row["confidence"],
                box_xyxy=(row["x_min"], row["y_min"], row["x_max"], row["y_max"]),
                mask=Mask.from_coco(row["mask"]) if row["mask"] else None,
            )
            by_frame.setdefault(row["frame_id"], []).append(seen)
        return by_frame
