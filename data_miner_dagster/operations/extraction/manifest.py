"""Write a folder of frames: the file and row of each frame, and the manifest that makes the folder valid."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.keys import frame_file_name, make_frame_id
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.tables import FRAMES_ROWS_PER_GROUP, FRAMES_SCHEMA
from data_miner_dagster.media.quality import measure
from data_miner_dagster.stages.extraction import quality_flag
from data_miner_dagster.storage.layout import FRAMES_TABLE_NAME
from data_miner_dagster.storage.tables import table_from_rows, table_writer

_RETRY: Final = f"run `data-miner retry --kind {VideoErrorKind.LIMIT_EXCEEDED.value}`"
_FEWER_FRAMES: Final = f"set platform.extraction.max_frames_per_video, or raise the limit, then {_RETRY}"


@dataclass(frozen=True, slots=True)
class Moment:
    """The position of a picture in its source."""

    pts: int  # in units of `time_base`
    time_base: Fraction  # in seconds
    source_frame_number: int  # counting from 0
    is_keyframe: bool

    def as_row(self) -> dict[str, Any]:
        """Return the position as columns of `frames.parquet`."""
        return {
            "pts": self.pts,
            "time_base_numerator": self.time_base.numerator,
            "time_base_denominator": self.time_base.denominator,
            "pts_seconds": float(self.pts * self.time_base),
            "source_frame_number": self.source_frame_number,
            "is_keyframe": self.is_keyframe,
        }


class FrameFolderWriter:
    """Numbers, measures and stores pictures in the order of the calls. At most one group of rows is in memory."""

    def __init__(self, folder: Path, video_key: str, config: ExtractionConfig, writer: pq.ParquetWriter) -> None:
        self.num_frames = 0
        self.size_bytes = 0
        self.num_frames_by_flag: Counter[str] = Counter()
        self._folder = folder
        self._video_key = video_key
        self._config = config
        self._writer = writer
        self._rows: list[dict[str, Any]] = []

    def add(self, content: bytes, extension: str, luma: npt.NDArray[np.uint8], moment: Moment) -> None:
        """Store one picture. `content` is its encoded file, and its quality is measured on the (H, W) `luma`."""
        file_name = frame_file_name(self.num_frames, extension)
        (self._folder / file_name).write_bytes(content)
        quality = measure(luma, looks_for_text=self._config.quality.looks_for_text)
        text_share, plain_share = (
            (None, None) if (slide := quality.slide) is None else (slide.text_share, slide.plain_share)
        )
        flag = quality_flag(
            sharpness=quality.sharpness,
            brightness=quality.brightness,
            contrast=quality.contrast,
            text_share=text_share,
            plain_share=plain_share,
            config=self._config.quality,
        )
        if flag is not None:
            self.num_frames_by_flag[flag.value] += 1
        height, width = luma.shape
        self._rows.append(
            {
                "frame_id": make_frame_id(self._video_key, self.num_frames),
                "video_key": self._video_key,
                "frame_index": self.num_frames,
                "file_name": file_name,
                **moment.as_row(),
                "width": width,
                "height": height,
                "size_bytes": len(content),
                "sha256": sha256(content).hexdigest(),
                "sharpness": quality.sharpness,
                "brightness": quality.brightness,
                "contrast": quality.contrast,
                "is_letterboxed": quality.is_letterboxed,
                "perceptual_hash": quality.perceptual_hash,
                "text_share": text_share,
                "plain_share": plain_share,
                "quality_flag": None if flag is None else flag.value,
            }
        )
        self.num_frames += 1
        self.size_bytes += len(content)
        if len(self._rows) == FRAMES_ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held in memory."""
        self._writer.write_table(table_from_rows(self._rows, FRAMES_SCHEMA))
        self._rows.clear()


@contextmanager
def frame_folder_writer(
    folder: Path, video_key: str, fingerprint: str, config: ExtractionConfig
) -> Iterator[FrameFolderWriter]:
    """Yield a writer for an empty folder. `frames.parquet` appears when the block ends without an exception."""
    with table_writer(folder / FRAMES_TABLE_NAME, FRAMES_SCHEMA, fingerprint=fingerprint) as table:
        writer = FrameFolderWriter(folder, video_key, config, table)
        yield writer
        writer.flush()


def check_num_frames(num_frames: int, config: ExtractionConfig, *, remedy: str = _FEWER_FRAMES) -> None:
    """Check that the number of frames is within the limit. The error message ends with `remedy`.

    Raises:
        VideoPermanentError: there are more frames than `max_sampled_frames`.
    """
    limit = config.limits.max_sampled_frames
    if num_frames > limit:
        raise VideoPermanentError(
            VideoErrorKind.LIMIT_EXCEEDED,
            f"the video needs {counted(num_frames, 'frame')}, more than "
            f"platform.extraction.limits.max_sampled_frames={limit}; {remedy}",
        )


def check_num_pixels(width: int, height: int, config: ExtractionConfig) -> None:
    """Check that the size of a picture is within the limit.

    Raises:
        VideoPermanentError: the picture has more pixels than `max_pixels`.
    """
    limit = config.limits.max_pixels
    if width * height > limit:
        raise VideoPermanentError(
            VideoErrorKind.LIMIT_EXCEEDED,
            f"a picture of {width}x{height} pixels exceeds platform.extraction.limits.max_pixels={limit}; raise the "
            f"limit, then {_RETRY}",
        )
