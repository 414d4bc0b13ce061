"""Frames to stored embeddings: one file a video and encoder, made once and shared by all projects.

The videos of one call share batches, so short ones cost nothing extra; each is written, and reported, as soon as its
last frame is through. Claims are taken in the order of the keys, whatever order they were asked in, so that two
callers never wait for each other.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Final, TypeVar

import numpy as np

from data_miner_dagster.catalog.upkeep import record_internal_error
from data_miner_dagster.catalog.videos import find_video, keys_with_internal_errors
from data_miner_dagster.domain.errors import ClaimHeldError, DamagedFileError, PermanentError
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import Float32Array, OutcomeStatus, RgbImage, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.media.outcomes import UnreadableImageError
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.embedding.tasks import EmbeddingTask, FrameToEmbed
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.item_faults import ItemFault, concerns_all_items, item_guard
from data_miner_dagster.operations.left_out import VideosLeftOutError
from data_miner_dagster.operations.platform import Platform, ReportVideo
from data_miner_dagster.stages.embedding import FrameLoadError, embed_in_batches
from data_miner_dagster.storage.alignment import rows_of_indices
from data_miner_dagster.storage.frames import frames_modified_ns, read_frame_images, sound_frames_identity
from data_miner_dagster.storage.vectors import (
    StoredEmbeddings,
    read_embeddings,
    read_vectors_fingerprint,
    write_embeddings,
)

T = TypeVar("T")

_MEGABYTE: Final = 1 << 20

logger = logging.getLogger(__name__)


def embed_frames(
    platform: Platform, video_keys: Sequence[str], *, force: bool = False, report: ReportVideo | None = None
) -> list[VideoOutcome]:
    """Embed every frame of each video with the filter encoder; return the outcomes in the order of the keys.

    A video whose embeddings are current is REUSED; one without frames is BLOCKED. A frame whose image is damaged is
    left out and counted; a video with no readable frame at all has FAILED.

    Raises:
        ConfigError: the configured encoder is unknown.
        ModelError: the encoder is missing, or not what was pinned.
    """
    outcomes: dict[str, VideoOutcome] = {}
    encoder = platform.models.filter_encoder

    def settle(outcome: VideoOutcome) -> None:
        outcomes[outcome.video_key] = outcome
        if report is not None:
            report(outcome)

    def finish(task: EmbeddingTask) -> VideoOutcome:
        num_frames = len(task.wanted)
        if task.problems and not task.vectors:
            if task.fault is not None:
                raise task.fault
            message = f"no frame of {task.video_key} can be read: {task.problems[0]}; extract its frames again"
            return VideoOutcome(task.video_key, OutcomeStatus.FAILED, VideoErrorKind.UNDECODABLE, message)
        write_embeddings(task.target, task.stored(encoder.load().embedding_dim))
        return VideoOutcome(
            task.video_key,
            OutcomeStatus.DONE,
            message=f"{len(task.problems)} frames cannot be read: {task.problems[0]}" if task.problems else "",
            metadata={
                "encoder": encoder.name,
                "num_frames": num_frames,
                "num_embedded": len(task.vectors),
                "num_unreadable": len(task.problems),
            },
        )

    def record(fault: ItemFault, key: str) -> None:
        record_internal_error(platform.database, key, fault.line, only_from={VideoStatus.EXTRACTED})
        settle(VideoOutcome(key, OutcomeStatus.FAILED, VideoErrorKind.INTERNAL_ERROR, fault.line))

    def opened(key: str) -> EmbeddingTask | VideoOutcome:
        with ExitStack() as stack:
            try:
                stack.enter_context(platform.hold_video(key))
            except ClaimHeldError as error:
                return VideoOutcome(key, OutcomeStatus.BLOCKED, message=str(error))
            try:
                with platform.mending(key):
                    planned = _plan_whole_video(platform, encoder, key, force=force)
            except DamagedFileError as error:  # removed: its frames are made again, and then it is asked for again
                return VideoOutcome(key, OutcomeStatus.BLOCKED, message=str(error))
            if isinstance(planned, EmbeddingTask):
                planned.claim = stack.pop_all()
            return planned

    def tasks() -> Iterator[EmbeddingTask]:
        for key in sorted(set(video_keys)):
            planned = guard.attempt(key, partial(opened, key), partial(record, key=key), proves=False)
            if isinstance(planned, VideoOutcome):
                settle(planned)
            elif planned is not None:
                yield planned

    def close(task: EmbeddingTask) -> None:
        outcome = guard.attempt(task.video_key, partial(_finished, finish, task), partial(record, key=task.video_key))
        if outcome is not None:
            settle(outcome)

    with item_guard("embed_frames", keys_with_internal_errors(platform.database, video_keys)) as guard:
        _run_tasks(platform, tasks(), encoder, close)
    return [outcomes[key] for key in video_keys]


def _finished(finish: Callable[[EmbeddingTask], T], task: EmbeddingTask) -> T:
    """Return what `finish` makes of a task, and let its claim go."""
    try:
        return finish(task)
    finally:
        task.claim.close()


def ensure_embeddings(platform: Platform, encoder: EncoderRole, frames: Mapping[str, Sequence[int]]) -> None:
    """Ensure that the frames named, by video, have vectors of an encoder; make those that are missing.

    What is stored for other frames of the same videos stays. Only videos that lack something are claimed.

    Raises:
        VideosLeftOutError: videos have no frames, or not those that are named, or an image of them is damaged, or else
            cannot be embedded. All others are done then.
        ModelError: the encoder is missing, or not what was pinned.
    """
    faults: dict[str, ItemFault] = {}

    def finish(task: EmbeddingTask) -> None:
        if task.fault is not None:
            raise task.fault
        if task.problems:
            raise PermanentError(f"{task.problems[0]}; extract the frames of {task.video_key} again")
        write_embeddings(task.target, task.stored(encoder.load().embedding_dim))

    def opened(key: str) -> EmbeddingTask | None:
        if _plan_some_frames(platform, encoder, key, frames[key]) is None:
            return None
        with ExitStack() as stack:
            stack.enter_context(platform.hold_video(key))
            planned = _plan_some_frames(platform, encoder, key, frames[key])  # another worker may have made them
            if planned is not None:
                planned.claim = stack.pop_all()
            return planned

    def tasks() -> Iterator[EmbeddingTask]:
        for key in sorted(frames):
            planned = guard.attempt(key, partial(opened, key), partial(faults.__setitem__, key), proves=False)
            if planned is not None:
                yield planned
            elif key not in faults and not guard.holds(key):
                guard.succeed()  # its vectors are there

    def close(task: EmbeddingTask) -> None:
        key = task.video_key
        guard.attempt(key, partial(_finished, finish, task), partial(faults.__setitem__, key))

    with item_guard("embedding for a project") as guard:
        _run_tasks(platform, tasks(), encoder, close)
    if faults:
        raise VideosLeftOutError(faults)


def load_vectors(
    platform: Platform, encoder: EncoderRole, video_key: str, frame_indices: Sequence[int]
) -> Float32Array:
    """Return (N, D) unit vectors of frames of one video, in the order asked.

    Raises:
        PermanentError: a frame has no current vector; `ensure_embeddings` makes them.
    """
    stored = _current(platform, encoder, video_key)
    if stored is None:
        raise PermanentError(f"{video_key} lacks embeddings by {encoder.name}; embed its frames first")
    rows = rows_of_indices(
        np.asarray(frame_indices, np.int32),
        stored.frame_indices,
        table=f"the embeddings file of {video_key} by {encoder.name}",
        remedy="embed its frames first",
    )
    vectors = stored.vectors[rows].astype(np.float32)
    # float16 rounds lengths by up to 1e-3.
    units: Float32Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return units


def _run_tasks(
    platform: Platform,
    tasks: Iterator[EmbeddingTask],
    role: EncoderRole,
    finish: Callable[[EmbeddingTask], None],
) -> None:
    """Put the frames of all tasks through the encoder; `finish` each, which ends its claim, after its last frame."""
    config = platform.config.embedding
    pictures = StoredPictures(platform.config.extraction)
    open_tasks: list[EmbeddingTask] = []

    def close(task: EmbeddingTask) -> None:
        open_tasks.remove(task)
        finish(task)

    def opened() -> Iterator[EmbeddingTask]:
        for task in tasks:
            open_tasks.append(task)
            if task.wanted:
                yield task
            else:
                close(task)

    try:
        first = next(remaining := opened(), None)
        if first is None:
            return
        encoder = role.load()  # only now: nothing is loaded where nothing is to be done

        def frames() -> Iterator[FrameToEmbed]:
            yield from first.wanted
            for task in remaining:
                yield from task.wanted

        stream = embed_in_batches(
            encoder,
            frames(),
            partial(_load_image, pictures, min_side=encoder.input_side),
            batch_size=config.batch_size,
            decode_threads=config.decode_threads,
            max_batch_bytes=config.max_batch_megabytes * _MEGABYTE,
            is_of_frame=lambda error: not concerns_all_items(error),
        )
        with closing(stream):
            for embedded in stream:
                task = embedded.frame.task
                task.add(embedded.frame.frame_index, embedded.vector, embedded.error)
                if task.num_seen == len(task.wanted):
                    close(task)
    finally:
        for task in open_tasks:
            task.claim.close()
        pictures.close()


def _load_image(pictures: StoredPictures, frame: FrameToEmbed, *, min_side: int) -> RgbImage:
    try:
        return pictures.read_reduced(frame.picture, frame.sha256, min_side)
    except UnreadableImageError as error:
        raise FrameLoadError(str(error)) from error


def _plan_whole_video(
    platform: Platform, encoder: EncoderRole, video_key: str, *, force: bool
) -> EmbeddingTask | VideoOutcome:
    """Return what is to be done for all embeddings of a video, or why nothing is. Under the video's claim."""
    video = find_video(platform.database, video_key)
    if video is None:
        return VideoOutcome(video_key, OutcomeStatus.BLOCKED, message=f"video {video_key} is not in the catalog")
    if video.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE):
        status = OutcomeStatus.FAILED if video.status is VideoStatus.FAILED else OutcomeStatus.UNAVAILABLE
        return VideoOutcome(video_key, status, video.error_kind, video.error or "")
    frames = sound_frames_identity(platform.layout, video_key) if video.status is VideoStatus.EXTRACTED else None
    if frames is None:
        message = f"the frames of {video_key} have not been extracted (it is {video.status.value})"
        return VideoOutcome(video_key, OutcomeStatus.BLOCKED, message=message)
    target = platform.layout.embedding_file(encoder.name, video_key)
    fingerprint = embeddings_fingerprint_of(frames.fingerprint, encoder.fingerprint)
    if not force and read_vectors_fingerprint(target) == fingerprint:
        # The same frames may have been made again since: who looks at times alone must see that these are theirs.
        extracted_ns = frames_modified_ns(platform.layout, video_key)
        if target.stat().st_mtime_ns < extracted_ns:
            os.utime(target, ns=(extracted_ns, extracted_ns))
        return VideoOutcome(video_key, OutcomeStatus.REUSED, metadata={"encoder": encoder.name})
    task = EmbeddingTask(video_key, target, fingerprint)
    task.wanted = _frames_of(platform, task, None)
    return task


def _plan_some_frames(
    platform: Platform, encoder: EncoderRole, video_key: str, frame_indices: Sequence[int]
) -> EmbeddingTask | None:
    """Return what is to be done so that these frames have vectors, None if nothing is."""
    target = platform.layout.embedding_file(encoder.name, video_key)
    whole = _whole_fingerprint(platform, encoder, video_key)
    known = _current(platform, encoder, video_key)
    wanted = np.unique(np.asarray(frame_indices, np.int32))
    if known is not None:
        wanted = np.setdiff1d(wanted, known.frame_indices)
        if not len(wanted):
            return None
    fingerprint = whole if known is not None and known.fingerprint == whole else _partial_fingerprint(whole)
    task = EmbeddingTask(video_key, target, fingerprint, known=known)
    task.wanted = _frames_of(platform, task, {int(index) for index in wanted})
    return task


def _frames_of(platform: Platform, task: EmbeddingTask, only: set[int] | None) -> list[FrameToEmbed]:
    """Return the frames of a task's video, all or those named, in order.

    Raises:
        PermanentError: one that is named does not exist.
    """
    frames = [
        FrameToEmbed(task, index, image.file, image.sha256)
        for index, image in read_frame_images(platform.layout, task.video_key).items()
        if only is None or index in only
    ]
    if only is not None and len(frames) != len(only):
        absent = min(only - {frame.frame_index for frame in frames})
        raise PermanentError(f"there is no frame {make_frame_id(task.video_key, absent)}; filter the project again")
    return frames


def _whole_fingerprint(platform: Platform, encoder: EncoderRole, video_key: str) -> str:
    frames = sound_frames_identity(platform.layout, video_key)
    if frames is None:
        raise PermanentError(f"the frames of {video_key} are missing; extract them first")
    return embeddings_fingerprint_of(frames.fingerprint, encoder.fingerprint)


def _partial_fingerprint(whole: str) -> str:
    """Return the fingerprint of a file that holds some frames only: whoever needs all of them must not take it."""
    return fingerprint_of({"some_of": whole})


def _current(platform: Platform, encoder: EncoderRole, video_key: str) -> StoredEmbeddings | None:
    whole = _whole_fingerprint(platform, encoder, video_key)
    try:
        stored = read_embeddings(platform.layout.embedding_file(encoder.name, video_key))
    except DamagedFileError as error:  # written again, as if it were absent
        logger.warning("%s", error)
        return None
    return stored if stored is not None and stored.fingerprint in (whole, _partial_fingerprint(whole)) else None
