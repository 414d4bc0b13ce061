"""A release of four images, small enough to know by heart, and the files of its parts."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_miner_dagster.domain.tables import TRACK_COLUMNS, VERDICT_COLUMN
from data_miner_dagster.domain.tracks import Sighting
from data_miner_dagster.export import coco
from data_miner_dagster.export.codec import Destination, ReleaseWriter
from data_miner_dagster.export.formats import Format
from data_miner_dagster.export.parquet import write_videos
from data_miner_dagster.export.records import (
    PERSON,
    ReleaseBox,
    ReleaseHeader,
    ReleaseImage,
    ReleaseTally,
    ReleaseVideo,
)
from data_miner_dagster_tests.support.sample_project import textured_image

HEADER = ReleaseHeader("cyclists", "v001", "", ("person", "bicycle"), ("train", "val", "test"))
JUDGED_HEADER = replace(HEADER, extra_columns=(VERDICT_COLUMN, *(column.name for column in TRACK_COLUMNS)))
OF_TRACKS = ("mot", "youtube-vis")
"""Formats that are available only for a release with tracks."""
Corners = tuple[float, float, float, float]


def jpeg_of(image_id: int) -> bytes:
    """Return an image of the release: a JPEG file of 64 by 48 pixels."""
    buffer = io.BytesIO()
    textured_image(image_id).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def release_box(class_index: int, box_xyxy: Corners) -> ReleaseBox:
    """Return a box from the lite detector with a confidence of 0.5."""
    name = HEADER.class_names[class_index]
    return ReleaseBox(class_index, name, box_xyxy, 0.5, f"a {name}", "lite", 1)


def release_image(
    image_id: int, split: str, video_key: str, frame_index: int, *boxes: tuple[int, Corners], **values: Any
) -> ReleaseImage:
    """Return an image of 64 by 48 pixels; `boxes` are (class index, corners) pairs."""
    content = jpeg_of(image_id)
    columns: dict[str, Any] = {
        "image_id": image_id,
        "file_name": f"{split}/{video_key}_{frame_index:06d}.jpg",
        "split": split,
        "width": 64,
        "height": 48,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "frame_id": f"{video_key}/{frame_index:06d}",
        "video_key": video_key,
        "frame_index": frame_index,
        "video_url": f"https://videos.example/{video_key}",
        "pts": frame_index * 1000,
        "time_base_numerator": 1,
        "time_base_denominator": 1000,
        "pts_seconds": float(frame_index),
        "similarity": 0.75,
        "similar_prompt": "a bicycle",
        "sharpness": 100.0,
        "num_duplicates": 0,
        "boxes": tuple(release_box(*box) for box in boxes),
    }
    return ReleaseImage(**(columns | values))


IMAGES: tuple[ReleaseImage, ...] = (
    release_image(1, "train", "files-a", 0, (0, (4.0, 6.0, 40.0, 30.0)), (1, (10.5, 8.25, 30.0, 47.0))),
    release_image(2, "train", "files-a", 2),
    release_image(3, "val", "files-b", 0, (1, (0.0, 0.0, 64.0, 48.0))),
    release_image(4, "train", "files-c", 1, (0, (1.125, 2.0, 3.625, 4.5))),
)


def _judged_images() -> tuple[ReleaseImage, ...]:
    right, plain = IMAGES[0].boxes
    seen = (Sighting(0.25, 0.75), Sighting(1.5, 0.5))
    right = replace(right, verdict="right", answer_id="a1", confidence_calibrated=0.875, verifier_verdict="confirmed")
    right = replace(right, track_id=1, recovered=True, recovered_from=seen)
    drawn = replace(plain, detector=PERSON, confidence=1.0, num_agreeing_detectors=0, verdict="missing", answer_id="a2")
    unsure = replace(plain, box_xyxy=(50.0, 1.0, 60.0, 9.0), confidence=0.2, is_unsure=True)
    unsure = replace(unsure, verifier_verdict="cannot_tell", recovered=False)
    once = replace(IMAGES[2].boxes[0], recovered=False)
    return (
        replace(IMAGES[0], boxes=(right, unsure, drawn)),
        replace(IMAGES[1], boxes=(unsure,)),
        replace(IMAGES[2], boxes=(once,)),
        *IMAGES[3:],
    )


JUDGED_IMAGES: tuple[ReleaseImage, ...] = _judged_images()
"""`IMAGES` after a person and a verifier have examined the first image. Each of the first two has a region to ignore.
Objects were followed, and one that no detector reported on the first image has a track."""


def tally_of(images: Iterable[ReleaseImage], header: ReleaseHeader = HEADER) -> ReleaseTally:
    """Return the counts for these images of the release."""
    tally = ReleaseTally.of(header)
    for image in images:
        tally.add(image)
    return tally


def write_format(format: Format, destination: Destination, images: Iterable[ReleaseImage] = IMAGES) -> None:
    """Write the images in one format."""
    write_images(format.codec.open_writer(destination), images)


def write_images(writer: ReleaseWriter, images: Iterable[ReleaseImage] = IMAGES) -> None:
    """Write the images with a writer, and close it."""
    with closing(writer):
        for image in images:
            writer.add(image)


def write_pictures(folder: Path, images: Sequence[ReleaseImage] = IMAGES) -> None:
    """Write the image files, and create a folder for each split, even for an empty one."""
    for split in HEADER.splits:
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    for image in images:
        (folder / "images" / image.file_name).write_bytes(jpeg_of(image.image_id))


def write_sample_videos(folder: Path, images: Sequence[ReleaseImage] = IMAGES, header: ReleaseHeader = HEADER) -> None:
    """Write the table of the videos that the images come from."""
    tally = tally_of(images, header)
    split_by_video = {image.video_key: image.split for image in images}
    write_videos(
        folder,
        [
            ReleaseVideo(
                video_key=key,
                split=split,
                group=key,
                url=f"https://videos.example/{key}",
                title=None,
                channel=None,
                licence="CC-BY-4.0",
                upload_date=None,
                duration_seconds=3.0,
                sha256=None,
                source="urls",
                query="https://videos.example/list",
                num_frames=3,
                num_images=tally.images_by_video[key],
                num_boxes=tally.boxes_by_video[key],
            )
            for key, split in split_by_video.items()
        ],
    )


class ForgetfulWriter(coco.CocoWriter):
    """A COCO writer that forgets boxes, as a bug would."""

    def add(self, image: ReleaseImage) -> None:
        """Write an image with only its first box."""
        super().add(replace(image, boxes=image.boxes[:1]))


FORGETFUL = replace(coco.CODEC, open_writer=lambda to: ForgetfulWriter(to.folder, to.header))
"""The COCO format with `ForgetfulWriter` as its writer."""
