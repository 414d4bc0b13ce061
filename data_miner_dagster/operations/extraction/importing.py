"""Write a folder of frames from existing pictures, with the same manifest as for a video file.

The picture at position i, counting from 0, becomes the frame at i seconds. A picture that is unreadable or too large is
left out and reported with the reason.
"""

from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from data_miner_dagster.domain.errors import UnreadableImageError, VideoPermanentError
from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.media.foreign_pictures import TakenPicture, take_picture
from data_miner_dagster.operations.extraction.manifest import Moment, check_num_frames, frame_folder_writer
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob, FrameFolderSummary
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.stages.extraction import spread


def import_frame_folder(job: FrameFolderJob) -> FrameFolderSummary:
    """Store and measure the pictures in `job.picture_paths`, then write the manifest. Equal input gives equal bytes.

    If there are more pictures than `max_frames_per_video`, only that many are stored, spread evenly.

    Raises:
        VideoPermanentError: no picture can be read, or there are more pictures than the limit allows.
    """
    numbers = spread(np.arange(len(job.picture_paths)), job.config.max_frames_per_video).tolist()
    check_num_frames(len(numbers), job.config)
    left_out: list[str] = []
    with frame_folder_writer(job.folder, job.video_key, job.fingerprint, job.config) as writer:
        for number in numbers:
            path = job.picture_paths[number]
            name = clean_text(path.name) or "?"
            taken = attempt_alone("extract_frames", name, partial(_taken, job, path))
            if not isinstance(taken, TakenPicture):
                left_out.append(f"{name}: {taken.line if isinstance(taken, ItemFault) else taken}")
                continue
            writer.add(
                taken.content,
                taken.extension,
                np.asarray(cv2.cvtColor(taken.rgb, cv2.COLOR_RGB2GRAY), np.uint8),
                Moment(number, Fraction(1), number, is_keyframe=True),
            )
        if writer.num_frames == 0:
            folder = job.picture_paths[0].parent if job.picture_paths else Path()
            reason = f" (the first: {left_out[0]})" if left_out else ""
            raise VideoPermanentError(
                VideoErrorKind.UNDECODABLE, f"no picture in {folder} can be read{reason}; replace the pictures"
            )
    return FrameFolderSummary(
        num_frames=writer.num_frames,
        num_source_frames=len(job.picture_paths),
        num_decoded=writer.num_frames,
        num_unmet=len(numbers) - writer.num_frames,
        num_decode_errors=0,
        size_bytes=writer.size_bytes,
        num_frames_by_flag=dict(writer.num_frames_by_flag),
        left_out=tuple(left_out),
    )


def _taken(job: FrameFolderJob, path: Path) -> TakenPicture | str:
    """Return the picture, or the reason why it is left out."""
    try:
        content = path.read_bytes()
        return take_picture(content, max_pixels=job.config.limits.max_pixels, quality=job.config.jpeg_quality)
    except UnreadableImageError as error:
        return str(error)
    except MemoryError:
        return f"the file of {size_text(path.stat().st_size)} does not fit into memory"
    except FileNotFoundError:
        return "the file is missing, although it was listed"
    except PermissionError:
        return "the file's permissions do not allow reading it; correct them"
