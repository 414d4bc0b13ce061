"""Run the frames of embedding tasks through an encoder, in batches that each belong to one video."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from typing import Final

from data_miner_dagster.catalog.renewal import note_progress
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.embedding.tasks import EmbeddingTask, FrameToEmbed
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.item_faults import concerns_all_items
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.embedding import Batching, EmbeddedFrame, embed_in_batches

_MEGABYTE: Final = 1 << 20


def encode_tasks(
    platform: Platform, tasks: Iterator[EmbeddingTask], role: EncoderRole, close: Callable[[EmbeddingTask], None]
) -> None:
    """Run the frames of all tasks through the encoder. Pass each task to `close` after its last frame.

    If an exception is raised, the claims of unfinished tasks are released.

    Raises:
        ModelError: the encoder is missing, or differs from the pinned one.
    """
    config = platform.config.embedding
    batching = Batching(config.batch_size, config.decode_threads, config.max_batch_megabytes * _MEGABYTE)
    pictures = StoredPictures(platform.config.extraction)
    under_way = _TasksUnderWay(close)
    frames = under_way.frames_of(tasks)
    try:
        first = next(frames, None)
        if first is None:
            return
        encoder = role.load()  # as late as possible: without frames, no model is loaded
        stream = embed_in_batches(
            encoder,
            chain([first], frames),
            partial(_load_image, pictures, min_side=encoder.input_side),
            batching,
            group_of=lambda frame: frame.task.video_key,
            is_of_frame=lambda error: not concerns_all_items(error),
        )
        with closing(stream):
            for embedded in stream:
                note_progress()
                under_way.add(embedded)
    finally:
        under_way.let_go()
        pictures.close()


class _TasksUnderWay:
    """The tasks whose frames are being encoded."""

    def __init__(self, close: Callable[[EmbeddingTask], None]) -> None:
        self._close = close
        self._open: list[EmbeddingTask] = []

    def frames_of(self, tasks: Iterator[EmbeddingTask]) -> Iterator[FrameToEmbed]:
        """Yield the frames of each task, one task after another. A task without frames ends immediately."""
        for task in tasks:
            self._open.append(task)
            yield from task.wanted
            if not task.wanted:
                self._end(task)

    def add(self, embedded: EmbeddedFrame[FrameToEmbed]) -> None:
        """Pass a frame's result to its task, and end the task after its last frame."""
        task = embedded.frame.task
        task.add(embedded.frame.frame_index, embedded.vector, embedded.error)
        if task.num_seen == len(task.wanted):
            self._end(task)

    def let_go(self) -> None:
        """Release the claims of unfinished tasks."""
        for task in self._open:
            task.claim.close()

    def _end(self, task: EmbeddingTask) -> None:
        self._open.remove(task)
        self._close(task)


def _load_image(pictures: StoredPictures, frame: FrameToEmbed, *, min_side: int) -> RgbImage:
    return pictures.read_reduced(frame.picture, frame.sha256, min_side)
