"""Embed all frames of videos, and store the vectors in files that all projects share.

Decoding continues across videos, and each video is written and reported as soon as its last frame is done. Videos
that repeat the bytes of others form a second group, which comes last. In each group, videos are claimed in the order of
their keys, so callers cannot deadlock.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from data_miner_dagster.catalog.attempts import clear_attempts
from data_miner_dagster.catalog.content import of_same_bytes, originals_first
from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.catalog.pending import record_bases, reindex_videos
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.upkeep import fail_for_now
from data_miner_dagster.catalog.videos import find_video, keys_with_internal_errors
from data_miner_dagster.domain.errors import ClaimHeldError, DamagedFileError
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.domain.meters import Meter
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.bases import embedding_basis
from data_miner_dagster.operations.embedding.encoding import encode_tasks
from data_miner_dagster.operations.embedding.tasks import EmbeddingTask, frames_of
from data_miner_dagster.operations.foreign.stored_pictures import remedy_for_image
from data_miner_dagster.operations.item_faults import ItemFault, ItemGuard, is_of_system, item_guard, record_item_fault
from data_miner_dagster.operations.platform import Platform, ReportVideo
from data_miner_dagster.operations.tracing import noted
from data_miner_dagster.storage.frames import frames_table_of, has_frames, sound_frames_identity
from data_miner_dagster.storage.vectors import read_embeddings, read_vectors_fingerprint, write_embeddings


def embed_frames(
    platform: Platform, video_keys: Sequence[str], *, force: bool = False, report: ReportVideo | None = None
) -> list[VideoOutcome]:
    """Embed every frame of each video with the filter encoder. Return one outcome per key, in the given order.

    A video with current embeddings is REUSED unless `force` is set. A video whose frames are missing, or that another
    worker holds, is BLOCKED. A FAILED or UNAVAILABLE video keeps its status. A frame whose image is damaged is left out
    and counted. If none of a video's frames can be read, the video is FAILED, and its frames are recreated after a
    back-off. `report` is called with each outcome.

    Raises:
        ConfigError: the configured encoder is unknown.
        ModelError: the encoder is missing, or differs from the pinned one.
        OutageError: the same temporary error occurred on all videos (three or more), or on ten in a row.
        SystematicFaultError: the same internal error occurred on all videos (three or more), or on ten in a row.
    """
    # One meter for all: a batch belongs to one video, but images are decoded ahead and one model serves all videos.
    meter = Meter(WorkStage.EMBEDDING, run_id=platform.run_id, with_libraries=True)
    with meter.working(), item_guard("embed_frames", keys_with_internal_errors(platform.database, video_keys)) as guard:
        videos = _WholeVideos(platform, guard, force=force, report=report)
        for some in filter(None, originals_first(platform.database, video_keys)):
            encode_tasks(platform, videos.open(some), videos.encoder, videos.close)
    return [videos.outcomes[key] for key in video_keys]


class _WholeVideos:
    """The videos of one call. Each is opened under its claim, and closed with an outcome."""

    def __init__(self, platform: Platform, guard: ItemGuard, *, force: bool, report: ReportVideo | None) -> None:
        self.outcomes: dict[str, VideoOutcome] = {}
        self.encoder = platform.models.filter_encoder
        self._platform = platform
        self._guard = guard
        self._force = force
        self._report = report

    def open(self, video_keys: Sequence[str]) -> Iterator[EmbeddingTask]:
        """Yield each video's task. A video that cannot or need not be processed gets its outcome right away."""
        for key in sorted(set(video_keys)):
            planned = self._guard.attempt(
                key, partial(self._planned, key), partial(self._record_fault, key=key), proves=False
            )
            if isinstance(planned, VideoOutcome):
                self._settle(planned)
            elif planned is not None:
                yield planned

    def close(self, task: EmbeddingTask) -> None:
        """Write the file of a video whose last frame is done, and settle its outcome."""
        outcome = self._guard.attempt(
            task.video_key, partial(self._written, task), partial(self._record_fault, key=task.video_key)
        )
        if outcome is not None:
            self._settle(outcome)

    def _planned(self, key: str) -> EmbeddingTask | VideoOutcome:
        with ExitStack() as stack:
            try:
                claim = stack.enter_context(self._platform.hold_video(key))
            except ClaimHeldError as error:
                return VideoOutcome(key, OutcomeStatus.BLOCKED, message=str(error))
            try:
                with self._platform.mending(key):
                    planned = _plan_whole_video(self._platform, self.encoder, key, force=self._force)
            except DamagedFileError as error:  # the file was removed; once frames are recreated, the video is due
                _ask_for_frames(self._platform, key)
                return VideoOutcome(key, OutcomeStatus.BLOCKED, message=str(error))
            if isinstance(planned, EmbeddingTask):
                planned.claim = stack.pop_all()
                planned.publishing = partial(self._platform.publishing_under, claim)
            elif planned.status.exists:
                self._record_done(key)
            return planned

    def _written(self, task: EmbeddingTask) -> VideoOutcome:
        with task.claim, task.publishing():
            if task.fault is not None and (not task.vectors or is_of_system(task.fault)):
                raise task.fault  # a temporary error must not leave out a frame permanently
            if task.problems and not task.vectors:
                return noted(self._frames_lost(task))
            write_embeddings(task.target, task.stored(self.encoder.load().embedding_dim))
            self._record_done(task.video_key, task)
            return noted(
                VideoOutcome(
                    task.video_key,
                    OutcomeStatus.DONE,
                    message=_line_of_problems(task),
                    metadata={
                        "encoder": self.encoder.name,
                        "num_frames": len(task.wanted),
                        "num_embedded": len(task.vectors),
                        "num_unreadable": len(task.problems),
                    },
                )
            )

    def _record_done(self, key: str, task: EmbeddingTask | None = None) -> None:
        with self._platform.database.transaction() as session:
            clear_attempts(session, WorkStage.EMBEDDING, [key])
            if not record_bases(session, WorkStage.EMBEDDING, {key: embedding_basis(self.encoder)}):
                reindex_videos(session, [key])
            if task is not None:
                store_spent(session, key, num_frames=len(task.vectors), bytes_written=task.target.stat().st_size)

    def _frames_lost(self, task: EmbeddingTask) -> VideoOutcome:
        """Record that no frame of a video can be read, and remove the table of its frames. Return the outcome FAILED.

        Extraction then recreates the frames.
        """
        key, kind = task.video_key, VideoErrorKind.UNDECODABLE
        message = f"no frame of {key} can be read: {task.problems[0]}; the frames are recreated automatically"
        self._platform.remove_unreadable(frames_table_of(self._platform.layout, key))
        fail_for_now(self._platform.database, key, WorkStage.EMBEDDING, kind, message)
        return VideoOutcome(key, OutcomeStatus.FAILED, kind, message)

    def _record_fault(self, fault: ItemFault, key: str) -> None:
        stage, only_from = WorkStage.EMBEDDING, {VideoStatus.EXTRACTED}
        self._settle(record_item_fault(self._platform.database, key, fault, stage=stage, only_from=only_from))

    def _settle(self, outcome: VideoOutcome) -> None:
        self.outcomes[outcome.video_key] = outcome
        if self._report is not None:
            self._report(outcome)


def _line_of_problems(task: EmbeddingTask) -> str:
    """Return a line about the frames that could not be embedded, or an empty string if all were embedded."""
    if not task.problems:
        return ""
    line = f"{counted(len(task.problems), 'frame')} could not be embedded: {task.problems[0]}"
    return line if task.fault is not None else f"{line}; {remedy_for_image('PROJECT', task.video_key)}"


def _plan_whole_video(
    platform: Platform, encoder: EncoderRole, video_key: str, *, force: bool
) -> EmbeddingTask | VideoOutcome:
    """Return the task of embedding a whole video, or the video's outcome if it cannot or need not be embedded.

    Current embeddings of a video with the same bytes are copied. If frames are missing, extraction is requested. The
    caller must hold the video's claim.
    """
    video = find_video(platform.database, video_key)
    if video is None:
        message = (
            f"video {video_key!r} is not in the catalog; list its source with `data-miner populate --config FILE "
            "--force`"
        )
        return VideoOutcome(video_key, OutcomeStatus.BLOCKED, message=message)
    if video.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE):
        status = OutcomeStatus.FAILED if video.status is VideoStatus.FAILED else OutcomeStatus.UNAVAILABLE
        return VideoOutcome(video_key, status, video.error_kind, video.error or "")
    frames = sound_frames_identity(platform.layout, video_key) if video.status is VideoStatus.EXTRACTED else None
    if frames is None:
        _ask_for_frames(platform, video_key)
        lack = (
            "are missing, and will be extracted again"
            if video.status is VideoStatus.EXTRACTED
            else f"have not been extracted yet (the video is {video.status.value})"
        )
        message = f"the frames of {video_key} {lack}"
        return VideoOutcome(video_key, OutcomeStatus.BLOCKED, message=message)
    target = platform.layout.embedding_file(encoder.name, video_key)
    fingerprint = embeddings_fingerprint_of(frames.fingerprint, encoder.fingerprint)
    if not force and read_vectors_fingerprint(target) == fingerprint:
        return VideoOutcome(video_key, OutcomeStatus.REUSED, metadata={"encoder": encoder.name})
    if not force and (same := _take_embeddings(platform, encoder, video, fingerprint)) is not None:
        message = f"the embeddings were copied from {same}, which has the same bytes"
        return VideoOutcome(video_key, OutcomeStatus.REUSED, message=message, metadata={"encoder": encoder.name})
    task = EmbeddingTask(video_key, target, fingerprint)
    task.wanted = frames_of(platform, task, None)
    return task


def _take_embeddings(platform: Platform, encoder: EncoderRole, video: VideoRow, fingerprint: str) -> str | None:
    """Copy all embeddings from another video that has the same bytes, and therefore the same frames.

    Return the other video's key, or None if no such video has current embeddings of all its frames.
    """
    if video.sha256 is None or not video.file_name:
        return None
    with platform.database.reading() as session:
        others = of_same_bytes(session, video.key, video.sha256)
    for key in others:
        path = platform.layout.embedding_file(encoder.name, key)
        if read_vectors_fingerprint(path) != fingerprint:
            continue
        stored = read_embeddings(path)
        if stored is not None and len(stored.vectors) == video.num_frames:  # fewer: an image was damaged
            write_embeddings(platform.layout.embedding_file(encoder.name, video.key), stored)
            return key
    return None


def _ask_for_frames(platform: Platform, video_key: str) -> None:
    """Set an EXTRACTED video without frames back to DOWNLOADED, so that extraction recreates its frames."""
    if not has_frames(platform.layout, video_key):
        with platform.database.transaction() as session:
            move_video(session, video_key, VideoStatus.DOWNLOADED, only_from={VideoStatus.EXTRACTED})
