"""From pictures that exist already to a folder of frames with the same manifest. Nothing is encoded again.

Picture i is frame i, a second after the one before it. A picture that cannot be read is left out and counted.
"""

import io
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.operations.frame_folder import FrameFolderJob, FrameFolderSummary
from data_miner_dagster.operations.frame_manifest import check_num_frames, check_num_pixels, frame_folder_writer
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.stages.extraction import spread

_EXTENSION_BY_FORMAT: Final = {"JPEG": "jpg", "PNG": "png"}


def import_frame_folder(job: FrameFolderJob) -> FrameFolderSummary:
    """Copy `job.picture_paths` into the folder, measured, and write the manifest last. Same input, same bytes.

    Raises:
        VideoPermanentError: not one picture can be read, or a limit is exceeded.
    """
    numbers = spread(np.arange(len(job.picture_paths)), job.config.max_frames_per_video).tolist()
    check_num_frames(len(numbers), job.config)
    with frame_folder_writer(job.folder, job.video_key, job.fingerprint, job.config) as writer:
        for number in numbers:
            path = job.picture_paths[number]
            read = attempt_alone("extract_frames", path.name, partial(_read, path, job.config))
            if read is not None and not isinstance(read, ItemFault):
                content, extension, luma = read
                writer.add(
                    content,
                    extension,
                    luma,
                    pts=number,
                    time_base=Fraction(1),
                    source_frame_number=number,
                    is_keyframe=True,
                )
        if writer.num_frames == 0:
            folder = job.picture_paths[0].parent if job.picture_paths else Path()
            raise VideoPermanentError(VideoErrorKind.UNDECODABLE, f"{folder}: not one picture can be read")
    return FrameFolderSummary(
        num_frames=writer.num_frames,
        num_source_frames=len(job.picture_paths),
        num_decoded=writer.num_frames,
        num_unmet=len(numbers) - writer.num_frames,
        num_decode_errors=0,
        size_bytes=writer.size_bytes,
        num_frames_by_flag=dict(writer.num_frames_by_flag),
    )


def _read(path: Path, config: ExtractionConfig) -> tuple[bytes, str, npt.NDArray[np.uint8]] | None:
    """Return (content, extension, luma) of a picture, whatever its name says; None if it cannot be read."""
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=list(_EXTENSION_BY_FORMAT)) as image:
            check_num_pixels(*image.size, config)
            return content, _EXTENSION_BY_FORMAT[image.format or ""], np.asarray(image.convert("L"))
    except (OSError, ImportError, SyntaxError, ValueError):  # Pillow's ways to say that a file is damaged
        return None
