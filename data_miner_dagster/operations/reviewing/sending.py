"""Export the frames of a review queue to another annotation tool, in the order of the queue."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.box_shares import pixels_of, shares_of
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.export.codec import Destination, Expected
from data_miner_dagster.export.formats import EXPORT_FORMATS, ROUND_TRIP_FORMATS
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.records import (
    IMAGES_FOLDER,
    PERSON,
    ReleaseBox,
    ReleaseHeader,
    ReleaseImage,
    ReleaseTally,
)
from data_miner_dagster.export.round_trips import shown_folder, write_shown_header
from data_miner_dagster.export.verification import export_problems
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures, remedy_for_image
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.exporting import check_export_folder
from data_miner_dagster.operations.reviewing.records import ReviewBox, ReviewFrame
from data_miner_dagster.operations.reviewing.review import Review, open_review
from data_miner_dagster.stages.reviewing.states import BoxState
from data_miner_dagster.storage.atomic import atomic_folder

SENT_QUEUES: Final = (
    ReviewQueue.UNSURE,
    ReviewQueue.DISAGREEMENT,
    ReviewQueue.NEAR_THRESHOLD,
    ReviewQueue.RANDOM,
    ReviewQueue.STUDENT,
)
"""The queues that ask about the boxes on a frame."""
_SPLIT: Final = "review"
_PAGE_SIZE: Final = 200
_PIXEL_DECIMALS: Final = 3


@dataclass(frozen=True, slots=True)
class SentFrames:
    """The result of `send_frames`: the absolute path of the folder, and the counts of images and boxes in it."""

    folder: Path
    num_images: int
    num_boxes: int


def send_frames(
    platform: Platform, project: str, *, tool: str, queue: ReviewQueue, to: Path, limit: int | None = None
) -> SentFrames:
    """Write the frames of a queue, with their objects and unsure boxes, into a folder for an annotation tool.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        tool: one of `ROUND_TRIP_FORMATS`.
        queue: one of `SENT_QUEUES`.
        to: a new or empty folder outside the root's own folders.
        limit: the largest number of frames, taken from the start of the queue, or None for all frames.

    Raises:
        ConfigError: the project does not exist, the tool or queue is not supported, or `to` cannot be used.
        DataMinerError: the queue has no open question, the image of a frame is missing, or the written export cannot be
            read back.
        TransientError: the project's tables are being rewritten.
    """
    if tool not in ROUND_TRIP_FORMATS:
        raise ConfigError(f"`--for {tool}` is not a supported tool; use one of {', '.join(ROUND_TRIP_FORMATS)}")
    if queue not in SENT_QUEUES:
        raise ConfigError(f"queue {queue.value!r} is not about boxes; use one of {', '.join(SENT_QUEUES)}")
    config, review = platform.project_config(project), open_review(platform, project)
    check_export_folder(platform, to)
    description = config.shown.text(config.description)
    classes = tuple(config.detection.classes)
    header = ReleaseHeader(project, f"review-{queue.value}", description, classes, (_SPLIT,))
    with atomic_folder(to.absolute()) as folder, StoredPictures(platform.config.extraction) as pictures:
        (folder / IMAGES_FOLDER / _SPLIT).mkdir(parents=True)
        format, tally, revisions = EXPORT_FORMATS[tool], ReleaseTally.of(header), set()
        with closing(format.codec.open_writer(Destination(folder, header, folder, pictures))) as writer:
            for frame in _frames(review, queue, limit):
                if not frame.image.path.is_file():
                    raise _gone(project, frame)
                image = _image_of(frame, tally.num_images + 1, classes)
                shutil.copyfile(frame.image.path, folder / image.path_in_release)
                writer.add(image)
                tally.add(image)
                revisions |= {box.shown.revision for box in frame.boxes if box.shown.revision is not None}
        if not tally.num_images:
            raise DataMinerError(
                f"queue {queue.value!r} of project {project!r} has no open questions; choose another queue with --queue"
            )
        if len(revisions) == 1:
            write_shown_header(folder, header, *revisions)
        if problems := export_problems(format, folder, Expected(header, tally, lambda: _read(folder))):
            raise DataMinerError(
                f"the export for {tool} cannot be read back: {problems[0]}; nothing was sent; try again, and report "
                "the problem if it persists"
            )
    return SentFrames(to.absolute(), tally.num_images, tally.num_boxes + tally.num_unsure_boxes)


def _gone(project: str, frame: ReviewFrame) -> DataMinerError:
    what = f"the image of frame {frame.frame_id} is missing"
    return DataMinerError(f"{what}; nothing was sent; {remedy_for_image(project, frame.place.video_key)}")


def _read(folder: Path) -> Iterator[ReleaseImage]:
    return read_images(shown_folder(folder))


def _frames(review: Review, queue: ReviewQueue, limit: int | None) -> Iterator[ReviewFrame]:
    """Yield the first `limit` frames of a queue, or all frames if `limit` is None.

    Each frame is yielded once, even if the queue asks several questions about it.
    """
    seen: set[str] = set()
    cursor = None
    while limit is None or len(seen) < limit:
        page = review.page(queue, cursor=cursor, size=_PAGE_SIZE)
        for item in page.items:
            if item.frame.frame_id not in seen and (limit is None or len(seen) < limit):
                seen.add(item.frame.frame_id)
                yield item.frame
        cursor = page.next_cursor
        if cursor is None:
            return


def _image_of(frame: ReviewFrame, image_id: int, classes: tuple[str, ...]) -> ReleaseImage:
    """Return a frame as an image of an export. Fields that only a release fills have placeholder values."""
    video_key, frame_index = split_frame_id(frame.frame_id)
    path = frame.image.path
    width, height = frame.resolution_wh
    boxes = (_box_of(box, frame.resolution_wh, classes) for box in frame.boxes if box.state is not BoxState.NONE)
    return ReleaseImage(
        image_id=image_id,
        file_name=f"{_SPLIT}/{video_key}_{frame_index:06d}{path.suffix}",
        split=_SPLIT,
        width=width,
        height=height,
        size_bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
        frame_id=frame.frame_id,
        video_key=video_key,
        frame_index=frame_index,
        video_url=frame.video_url,
        pts=0,
        time_base_numerator=1,
        time_base_denominator=1,
        pts_seconds=frame.place.pts_seconds,
        similarity=0.0,
        similar_prompt="",
        sharpness=0.0,
        num_duplicates=0,
        boxes=tuple(box for box in boxes if box is not None),
    )


def _box_of(box: ReviewBox, resolution_wh: tuple[int, int], classes: tuple[str, ...]) -> ReleaseBox | None:
    left, top, right, bottom = (round(edge, _PIXEL_DECIMALS) for edge in pixels_of(box.box, resolution_wh))
    if shares_of((left, top, right, bottom), resolution_wh) is None:
        return None
    shown = box.shown
    return ReleaseBox(
        class_index=classes.index(box.class_name),
        class_name=box.class_name,
        box_xyxy=(left, top, right, bottom),
        confidence=1.0 if shown.confidence is None else shown.confidence,
        prompt="",
        detector=shown.detector or PERSON,
        num_agreeing_detectors=box.num_agreeing_detectors or 0,
        verdict=box.verdict.value if box.verdict is not None else None,
        answer_id=box.answer_id,
        is_unsure=box.state is BoxState.UNSURE,
    )
