"""Read the frames that a project's detectors examine: the representatives of its duplicate groups, with their images.

Does not belong here: finding the frames that a detector has not examined yet (shares.py).
"""

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.operations.detection.runs import DetectionFaults, FrameToDetect
from data_miner_dagster.operations.item_faults import item_guard
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.by_video import runs_of
from data_miner_dagster.storage.frames import read_frame_images
from data_miner_dagster.storage.tables import read_table


def representatives(platform: Platform, project: str, faults: DetectionFaults) -> tuple[list[FrameToDetect], int]:
    """Return the representatives with their images, ordered by frame id, and the number of unavailable representatives.

    All representatives of a video are unavailable if the video's frames cannot be read, or if one representative no
    longer exists because frames were extracted again. The errors are added to `faults`.

    Raises:
        DamagedFileError: the deduplicated table, or the frame table of a video, is damaged.
    """
    table = chosen_frames(platform, project)
    frames = frames_of(platform, table, faults)
    return frames, len(table) - len(frames)


def chosen_frames(platform: Platform, project: str) -> pa.Table:
    """Return a table of the representatives, ordered by frame id.

    It has the columns `frame_id`, `video_key`, `frame_index` and `is_representative`.
    """
    table = read_table(
        platform.layout.deduplicated_table(project), ["frame_id", "video_key", "frame_index", "is_representative"]
    )
    return table.filter(table["is_representative"]).sort_by("frame_id")


def between(chosen: pa.Table, first: str, last: str) -> pa.Table:
    """Return the rows of `chosen_frames` from frame id `first` to frame id `last`, both inclusive."""
    ids = chosen["frame_id"]
    return chosen.filter(pc.and_(pc.greater_equal(ids, first), pc.less_equal(ids, last)))


def frames_of(platform: Platform, chosen: pa.Table, faults: DetectionFaults) -> list[FrameToDetect]:
    """Return chosen frames with their images. Videos whose frames cannot be read or have changed are left out.

    Args:
        platform: the platform of one root.
        chosen: rows of `chosen_frames`.
        faults: receives the error of each video that is left out.

    Raises:
        DamagedFileError: the frame table of a video is damaged.
    """
    frames: list[FrameToDetect] = []
    with item_guard("detections") as guard:
        for video_key, start, stop in runs_of(chosen["video_key"].combine_chunks()):
            read = partial(_frames_of_video, platform, video_key, chosen.slice(start, stop - start))
            frames += guard.attempt(video_key, read, partial(faults.add_video, video_key)) or []
    return frames


def _frames_of_video(platform: Platform, video_key: str, wanted: pa.Table) -> list[FrameToDetect]:
    images = read_frame_images(platform.layout, video_key)
    frames = []
    for frame_id, frame_index in zip(wanted["frame_id"].to_pylist(), wanted["frame_index"].to_pylist(), strict=True):
        image = images.get(frame_index)
        if image is None:
            raise PermanentError(
                f"representative {frame_id} is no longer a frame of its video, because the frames were extracted "
                "again; run `data-miner run --config FILE` to filter and deduplicate its project again"
            )
        found = FrameToDetect(
            frame_id, video_key, frame_index, image.pts_seconds, image.file, image.sha256, image.resolution_wh
        )
        frames.append(found)
    return frames
