"""Detect objects in one project: run its detectors on the representatives of its duplicate groups.

Each detector's results are stored in parts (storage/detection_parts.py). They are computed again only if their inputs
change or the user requests it. Fusion, suppression and the comparison of boxes over time are repeated from the parts,
without a model.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from data_miner_dagster.catalog.shards import end_sharing
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import (
    DETECTED_FRAMES_SCHEMA,
    DETECTIONS_SCHEMA,
    TRACK_COLUMNS,
    VERIFIER_COLUMNS,
)
from data_miner_dagster.domain.versions import DETECTION_VERSION
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.models.provider import DetectorRole
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.operations.detection.deciding import Decisions
from data_miner_dagster.operations.detection.exemplars import exemplar_metadata
from data_miner_dagster.operations.detection.following import (
    VideoFollower,
    are_tracks_current,
    check_can_follow,
    following,
    forget_other_tracks,
    track_counts,
    tracking_settings,
    writing_tracks,
)
from data_miner_dagster.operations.detection.not_followed import NOT_FOLLOWED_KEY
from data_miner_dagster.operations.detection.not_followed import as_metadata as not_followed_metadata
from data_miner_dagster.operations.detection.representatives import representatives
from data_miner_dagster.operations.detection.runs import DetectionFaults, Looker, frame_row
from data_miner_dagster.operations.detection.shares import look_at_unseen, models_of, parts_of
from data_miner_dagster.operations.exemplars import exemplars_of
from data_miner_dagster.operations.left_out import as_metadata, read_left_out, record_left_out
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import project_stage, require_table
from data_miner_dagster.operations.stage_versions import record_stage_versions
from data_miner_dagster.operations.verification.verify_boxes import BoxVerification, read_verification
from data_miner_dagster.stages.detection.boxes import (
    DetectionRow,
    count_boxes,
    mask_bytes,
)
from data_miner_dagster.storage.atomic import sweep_partials
from data_miner_dagster.storage.detection_parts import DetectionParts, remove_other_parts
from data_miner_dagster.storage.tables import (
    MADE_FROM_KEY,
    add_fingerprint,
    read_fingerprint,
    read_metadata,
    read_table,
    table_from_rows,
    table_writer,
    write_table,
)

ROW_GROUP_BOXES: Final = 50_000
"""Boxes are written when at least this many are in memory, each time as one row group."""
ROW_GROUP_MASK_BYTES: Final = 64 << 20
"""Boxes are also written when their masks reach this size. Masks with noisy outlines take 100 times the usual space."""
_DECIDED_APART: Final = {"batch_size", "decode_threads", "verifier", "tracking"}
"""Settings that do not affect boxes, or that another part of the fingerprint covers."""
NUM_UNREADABLE_KEY: Final = "data_miner.num_unreadable_frames"
"""The metadata key for the number of representatives that could not be examined, for any reason."""
_FAULTS_KEY: Final = "data_miner.faults_by_frame"
"""The metadata key of a JSON object that maps the ids of affected frames to internal errors, one line each."""
_FOUND_KEY: Final = "data_miner.found"
"""The metadata key for the fingerprint of all inputs except the verifier's answers. Only tables of projects with a
verifier have it."""


def detect_project(
    platform: Platform, project: str, *, force: bool = False, not_followed: Collection[str] = ()
) -> ProjectOutcome:
    """Detect the project's classes on the representatives of `deduplicated.parquet`, and write the tables of detection.

    Current tables are reused. A detector examines only frames that it has not yet examined with the current class list
    and settings. A killed run resumes after its last part, and writes the same bytes as an uninterrupted run.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        force: delete earlier results, and examine all frames again.
        not_followed: the keys of videos whose objects must not be followed, to reproduce earlier tables.

    Returns:
        An outcome that counts frames, frames with boxes, boxes, boxes by class, and any unreadable frames and left-out
        videos. It also counts verdicts if the project has a verifier, and tracks if the project requests tracking.

    Raises:
        ConfigError: the project does not exist, a detector does not know a class, or a setting or exemplar is invalid.
        NotReadyError: the frames have not been deduplicated.
        ModelError: a detector, the verifier or the tracking model is missing or cannot be loaded.
        VerifierAwayError: the verifier is unavailable, and the project is set to wait for it.
    """
    config = platform.project_config(project).detection
    with models_of(config), project_stage(platform, project, ProjectStage.DETECTION) as stage:
        deduplicated_fingerprint = require_table(platform, project, ProjectStage.DEDUPLICATION)
        detectors = _usable_detectors(platform, config)
        exemplars = exemplars_of(platform, project, config)
        parts = parts_of(platform, project, detectors, config, exemplars)
        found_fingerprint = _found_fingerprint(platform, config, parts)
        fingerprint = fingerprint_of({"deduplicated": deduplicated_fingerprint, "found": found_fingerprint})
        verification = None if config.verifier is None else BoxVerification(platform, project, config)
        current = None if force else _current_fingerprint(platform, project, fingerprint, verification)
        if current is not None and are_tracks_current(platform, project, config, current):
            return _outcome(platform, project, OutcomeStatus.REUSED, current, config)
        stage.begin()
        if force:
            _forget_found(platform, project)
        faults = DetectionFaults()
        frames, num_lost = representatives(platform, project, faults)
        with following(platform, project, config, frames, parts, not_followed) as follower:
            for detector in detectors:
                with Looker(platform, detector, parts[detector.name], config, faults, exemplars) as looker:
                    look_at_unseen(platform, project, looker, frames, deduplicated_fingerprint)
                    if follower is not None:
                        follower.neighbours.look_at(looker, detector)
            if follower is not None:
                follower.neighbours.follow_objects()
            made_from = _MadeFrom(deduplicated_fingerprint, found_fingerprint, fingerprint, num_lost, faults)
            decisions = Decisions(parts, frames, config, faults, None if follower is None else follower.follow)
            if verification is not None:
                verification.ask(decisions.videos())
            further = _Further(verification, follower)
            fingerprint, left_out = _write_tables(platform, project, decisions, made_from, further)
        record_left_out(platform, project, left_out)
        remove_other_parts(platform.layout.detection_parts(project), keep=[part.folder for part in parts.values()])
        forget_other_tracks(platform, project, follower)
        outcome = _outcome(platform, project, OutcomeStatus.DONE, fingerprint, config)
        return outcome if verification is None else _with_line(outcome, verification.line)


def _usable_detectors(platform: Platform, config: DetectionConfig) -> Sequence[DetectorRole]:
    """Return a project's detectors, after checking that they know its classes and that requested tracking can run."""
    detectors = platform.models.detectors(config.detectors)
    check_can_follow(platform, config)
    for detector in detectors:
        check_classes(detector.entry, config.class_prompts, config.exemplar_paths)
    return detectors


def _forget_found(platform: Platform, project: str) -> None:
    end_sharing(platform.database, WorkStage.DETECTION, project)  # workers that still process a shard stop writing
    for folder in (platform.layout.detection_parts(project), platform.layout.window_parts(project)):
        remove_other_parts(folder, keep=())


def _found_fingerprint(platform: Platform, config: DetectionConfig, parts: Mapping[str, DetectionParts]) -> str:
    """Return the fingerprint of everything that boxes depend on, except the frames and the verifier."""
    return fingerprint_of(
        {
            "detection": _deciding_settings(config),
            "parts": [part.fingerprint for part in parts.values()],
            "version": DETECTION_VERSION,
            **tracking_settings(platform, config),
        }
    )


def _deciding_settings(config: DetectionConfig) -> dict[str, object]:
    """Return the settings that affect boxes, except those that another part of the fingerprint covers.

    The paths of exemplars are omitted, because the fingerprints of the detectors' stored parts already cover the
    contents of those files.
    """
    settings = config.model_dump(mode="json", exclude=_DECIDED_APART)
    if config.exemplar_paths:
        settings["classes"] = {wanted.class_name: wanted.prompts for wanted in config.class_prompts}
    return settings


def _current_fingerprint(
    platform: Platform, project: str, fingerprint: str, verification: BoxVerification | None
) -> str | None:
    """Return the fingerprint of the stored tables, or None if they are missing or not current.

    Tables are not current if their inputs have changed, frames were unreadable, videos were not followed, or boxes are
    waiting for the verifier's answer. With a verifier, the fingerprint depends on its answers.
    """
    frames_table, boxes_table = (
        platform.layout.detected_frames_table(project),
        platform.layout.detections_table(project),
    )
    stored, verified = read_fingerprint(frames_table), read_verification(frames_table)
    if stored is None or read_fingerprint(boxes_table) != stored:
        return None
    metadata = read_metadata(frames_table)
    if metadata.get(NUM_UNREADABLE_KEY) != "0" or NOT_FOLLOWED_KEY in metadata:
        return None
    if verification is None:
        return stored if stored == fingerprint else None
    is_same = verified is not None and verified.asking == verification.asking and not verified.waiting
    return stored if is_same and metadata.get(_FOUND_KEY) == fingerprint else None


def _with_line(outcome: ProjectOutcome, line: str) -> ProjectOutcome:
    return replace(outcome, metadata={**outcome.metadata, "verifier": line})


@dataclass(frozen=True, slots=True)
class _MadeFrom:
    """The fingerprints of the tables' inputs, and the number of left-out representatives, with their errors."""

    deduplicated_fingerprint: str
    found_fingerprint: str
    fingerprint: str
    num_lost: int  # representatives of videos whose frames are missing or unreadable
    faults: DetectionFaults


@dataclass(frozen=True, slots=True)
class _Further:
    """A project's verification and tracking. Each is None if the project does not request it."""

    verification: BoxVerification | None
    follower: VideoFollower | None

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that verification and tracking add to the table of frames."""
        metadata = dict(self.verification.metadata()) if self.verification is not None else {}
        return metadata | not_followed_metadata(self.not_followed)

    @property
    def not_followed(self) -> Mapping[str, str]:
        """The reasons why videos could not be followed, by video key."""
        return self.follower.neighbours.failed if self.follower is not None else {}

    @property
    def schema(self) -> pa.Schema:
        """The schema of the table of boxes, including the columns of verification and tracking."""
        tracks = TRACK_COLUMNS if self.follower is not None else ()
        verdicts = VERIFIER_COLUMNS if self.verification is not None else ()
        return pa.schema([*DETECTIONS_SCHEMA, *tracks, *verdicts])


def _write_tables(
    platform: Platform,
    project: str,
    decisions: Decisions,
    made_from: _MadeFrom,
    further: _Further,
) -> tuple[str, dict[str, str]]:
    """Write `detections.parquet`, whole-clip tracks if requested, and finally `detected_frames.parquet`.

    Returns:
        The fingerprint of the tables, and the reasons why videos are left out completely, by video key.
    """
    metadata = {MADE_FROM_KEY: made_from.deduplicated_fingerprint}
    verification, schema = further.verification, further.schema
    if verification is not None:
        metadata[_FOUND_KEY] = made_from.fingerprint
    sweep_partials(platform.layout.project_folder(project))
    frame_rows: list[dict[str, str | int | float]] = []
    seen_videos: set[str] = set()
    path = platform.layout.detections_table(project)
    fingerprint = _with_not_followed(made_from.fingerprint, further.not_followed)
    known = fingerprint if verification is None else None
    with (
        table_writer(path, schema, fingerprint=known, metadata=metadata) as writer,
        writing_tracks(platform, project, further.follower) as finish_tracks,
    ):
        box_rows: list[DetectionRow] = []
        num_mask_bytes = 0
        for frames in decisions.videos():
            seen_videos.add(frames[0].video_key)
            if verification is not None:
                verification.complete(frames)
            for frame in frames:
                box_rows += frame.rows
                frame_rows.append(frame_row(frame, made_from.found_fingerprint, len(frame.rows)))
            num_mask_bytes += sum(mask_bytes(row) for frame in frames for row in frame.rows)
            if len(box_rows) >= ROW_GROUP_BOXES or num_mask_bytes >= ROW_GROUP_MASK_BYTES:
                writer.write_table(table_from_rows(box_rows, schema))
                box_rows, num_mask_bytes = [], 0
        writer.write_table(table_from_rows(box_rows, schema))
        if verification is not None:
            fingerprint = _with_answers(fingerprint, verification)
            add_fingerprint(writer, fingerprint)
        finish_tracks(fingerprint)
    left_out = {key: line for key, line in made_from.faults.by_video.items() if key not in seen_videos}
    seen_frames = {row["frame_id"] for row in frame_rows}
    faults = {frame_id: line for frame_id, line in made_from.faults.by_frame.items() if frame_id not in seen_frames}
    write_table(
        platform.layout.detected_frames_table(project),
        table_from_rows(frame_rows, DETECTED_FRAMES_SCHEMA),
        fingerprint=fingerprint,
        metadata={
            **metadata,
            NUM_UNREADABLE_KEY: str(decisions.num_frames + made_from.num_lost - len(frame_rows)),
            **({_FAULTS_KEY: json.dumps(dict(sorted(faults.items())), ensure_ascii=False)} if faults else {}),
            **as_metadata(left_out),
            **further.metadata,
        },
    )
    return fingerprint, left_out


def _with_not_followed(fingerprint: str, video_keys: Collection[str]) -> str:
    """Return the fingerprint of tables in which the videos in `video_keys` were not followed.

    If `video_keys` is empty, this is `fingerprint` itself.
    """
    if not video_keys:
        return fingerprint
    return fingerprint_of({"made_from": fingerprint, "not_followed": sorted(video_keys)})


def _with_answers(fingerprint: str, verification: BoxVerification) -> str:
    answers = {"answers": verification.verified.digest, "asking": verification.asking}
    return fingerprint_of({"made_from": fingerprint, **answers})


def num_unreadable_frames(detected_frames_table: Path) -> int:
    """Return the number of representatives that are missing from the table because of an error."""
    return int(read_metadata(detected_frames_table).get(NUM_UNREADABLE_KEY, "0"))


def faults_by_frame(detected_frames_table: Path) -> dict[str, str]:
    """Return the internal errors that prevented representatives from being examined, one line each, by frame id."""
    faults: dict[str, str] = json.loads(read_metadata(detected_frames_table).get(_FAULTS_KEY, "{}"))
    return faults


def _outcome(
    platform: Platform, project: str, status: OutcomeStatus, fingerprint: str, config: DetectionConfig
) -> ProjectOutcome:
    record_stage_versions(platform, project, detection=DETECTION_VERSION)
    frames_table = platform.layout.detected_frames_table(project)
    boxes: pa.Table = read_table(platform.layout.detections_table(project), ["class_name"])
    counts = dict(
        count_boxes(
            read_table(frames_table, ["num_boxes"])["num_boxes"].to_pylist(),
            boxes["class_name"].to_pylist(),
            config.class_prompts,
        )
    )
    if num_unreadable := num_unreadable_frames(frames_table):
        counts["unreadable_frames"] = num_unreadable
    if left_out := read_left_out(frames_table):
        counts["left_out_videos"] = len(left_out)
    if verified := read_verification(frames_table):
        counts |= verified.as_counts()
    if config.tracking is not None:
        counts |= track_counts(platform, project)
    detectors = ", ".join(config.detectors or (platform.models.detector.name,))
    metadata = {"detectors": detectors, **exemplar_metadata(config.exemplar_paths)}
    return ProjectOutcome(project, status, fingerprint, counts, metadata)
