"""Store the pictures that a video shows at given times: the neighbours of its frames.

Belongs here: the work of one process on one video, with the same index, plan and decoder as for frames. Does not belong
here: choosing the times (stages/detection/windows.py), or requesting the pictures (operations/detection/).
"""

from collections import defaultdict
from fractions import Fraction
from functools import partial
from hashlib import sha256
from typing import Any, Final

import numpy as np
from av.video.stream import VideoStream

from data_miner_dagster.domain.decoding import GroupIndex, Int64Array, VideoIndex
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.keys import frame_file_name
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.tables import WINDOWS_SCHEMA
from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.decoding import DecodeTally, decode_targets, index_from_content
from data_miner_dagster.media.indexes import read_group_index, read_index
from data_miner_dagster.media.pictures import encode, picture_of
from data_miner_dagster.operations.extraction.folder import IndexReader
from data_miner_dagster.operations.extraction.manifest import check_num_frames, check_num_pixels
from data_miner_dagster.operations.foreign.media_requests import WindowsJob, WindowsSummary
from data_miner_dagster.stages.extraction import frames_on_screen, groups_at, plan_decoding
from data_miner_dagster.storage.layout import WINDOWS_TABLE_NAME
from data_miner_dagster.storage.tables import table_from_rows, table_writer
from data_miner_dagster.storage.windows import times_metadata

ROWS_PER_GROUP: Final = 500
_MICROSECONDS: Final = 1_000_000
_FEWER_PICTURES: Final = "raise detection.tracking.every_seconds, or raise the limit"


def store_windows(job: WindowsJob) -> WindowsSummary:
    """Write the pictures of a job and then their manifest, `windows.parquet`. Equal input gives equal bytes.

    Raises:
        VideoPermanentError: the file is unusable, no picture can be decoded, or a limit is exceeded.
    """

    def wanted_groups(index: GroupIndex) -> Int64Array | None:
        return groups_at(index, [Fraction(time, _MICROSECONDS) for time in _times_in(index, job)])

    readers: list[IndexReader] = [partial(read_group_index, choose=wanted_groups), read_index, index_from_content]
    for reader in readers:
        summary = _attempt(job, reader)
        if summary is not None and (summary.num_unmet == 0 or reader is index_from_content):
            return summary
        for leftover in job.folder.iterdir():
            leftover.unlink()
    raise VideoPermanentError(
        VideoErrorKind.UNDECODABLE,
        f"none of the neighbouring frames in {job.video_path.name} could be decoded; replace the file",
    )


def _attempt(job: WindowsJob, reader: IndexReader) -> WindowsSummary | None:
    opened = partial(open_video, job.video_path, num_threads=job.num_threads, max_pixels=job.config.limits.max_pixels)
    with opened() as stream:
        index = reader(stream, max_frames=job.config.limits.max_source_frames)
        if index is None or index.num_frames == 0:
            return None
        if index.is_seekable:
            return _write(job, index, stream)
    with opened() as stream:
        return _write(job, index, stream)


def _times_in(index: VideoIndex, job: WindowsJob) -> list[int]:
    """Return the requested times that are within the video, ascending, in microseconds."""
    first, last = (int(pts) * index.time_base * _MICROSECONDS for pts in (index.frame_pts[0], index.last_pts))
    times = {time for time in job.times_us if first <= time <= last}
    for step in job.steps_us:
        start = -(-first // step)
        count = int(last // step - start) + 1
        check_num_frames(count, job.config, remedy=_FEWER_PICTURES)
        times.update(int(start + number) * step for number in range(count))
    return sorted(times)


def _write(job: WindowsJob, index: VideoIndex, stream: VideoStream) -> WindowsSummary | None:
    times_by_pts: dict[int, list[int]] = defaultdict(list)
    for time in _times_in(index, job):
        times_by_pts[int(frames_on_screen(index, [Fraction(time, _MICROSECONDS)])[0])].append(time)
    targets = np.array(sorted(times_by_pts), np.int64)
    check_num_frames(len(targets), job.config, remedy=_FEWER_PICTURES)
    tally, num_pictures, size_bytes = DecodeTally(), 0, 0
    aspect = Fraction(stream.sample_aspect_ratio) if stream.sample_aspect_ratio else None
    rows: list[dict[str, Any]] = []
    path = job.folder / WINDOWS_TABLE_NAME
    metadata = times_metadata(job.times_us, job.steps_us)
    with table_writer(path, WINDOWS_SCHEMA, fingerprint=job.fingerprint, metadata=metadata) as writer:
        for pts, frame in decode_targets(stream, index, plan_decoding(index, targets), tally):
            check_num_pixels(frame.width, frame.height, job.config)
            picture = picture_of(frame, sample_aspect_ratio=aspect)
            content = encode(picture, job.config.image_format, job.config.jpeg_quality)
            name = frame_file_name(num_pictures, job.config.image_format)
            (job.folder / name).write_bytes(content)
            seconds = float(pts * index.time_base)
            rows.append(_row(name, content, picture.resolution_wh, pts, seconds) | {"times_us": times_by_pts[pts]})
            num_pictures, size_bytes = num_pictures + 1, size_bytes + len(content)
            if len(rows) == ROWS_PER_GROUP:
                writer.write_table(table_from_rows(rows, WINDOWS_SCHEMA))
                rows.clear()
        writer.write_table(table_from_rows(rows, WINDOWS_SCHEMA))
    return WindowsSummary(num_pictures, tally.num_decoded, len(targets) - num_pictures, size_bytes)


def _row(name: str, content: bytes, resolution_wh: tuple[int, int], pts: int, seconds: float) -> dict[str, Any]:
    width, height = resolution_wh
    return {
        "file_name": name,
        "pts": pts,
        "pts_seconds": seconds,
        "width": width,
        "height": height,
        "sha256": sha256(content).hexdigest(),
    }
