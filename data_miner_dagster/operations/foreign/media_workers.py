"""Files and pictures of strangers, looked at in a process apart, within limits that are set before their first byte.

The workers are those of extraction (`extraction/jobs.py`): whoever makes frames next finds its modules imported.
They come from the same interpreter as those that fetch (`site_jobs.py`), but are others: they get no secret.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.errors import VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.media.outcomes import ProbedVideo, UnreadableImageError
from data_miner_dagster.operations.foreign.media_requests import JOBS_MODULE
from data_miner_dagster.workers.errors import WorkerDiedError, WorkerLimitError
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.pool import WorkerPool

_PICTURE_SECONDS: Final = 60.0
_VIDEO_CPU_SECONDS: Final = 600.0
"""A file of 4 GB is read through in less than a minute; the rest is for decoding where nothing cheaper proves it."""


class MediaWorkers:
    """Worker processes that prove videos and decode pictures. Safe to share by threads; nothing starts before a call.

    Args:
        limits: what one file may cost.
        max_pixels: what one picture may have.
        pool: of a module that serves these jobs, closed together with this. None: one of its own.
    """

    def __init__(self, limits: WorkerLimits, *, max_pixels: int, pool: WorkerPool | None = None) -> None:
        self._limits = limits
        self._max_pixels = max_pixels
        self._pool = pool or WorkerPool(JOBS_MODULE)

    def __enter__(self) -> "MediaWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._pool.close()

    def start(self) -> None:
        """Begin to import what workers need; returns at once."""
        self._pool.start()

    @property
    def process_ids(self) -> list[int]:
        """The workers that there are now."""
        return self._pool.process_ids

    def probe(self, path: Path) -> ProbedVideo:
        """The same as `probe_video`, in a worker.

        Raises:
            VideoPermanentError: as there; LIMIT_EXCEEDED too when time or memory runs out.
            VideoTransientError: CRASHED: the worker died.
            WorkerFaultError: an exception that nobody expected, met in the worker.
        """
        arguments = {"path": os.fspath(path), "max_pixels": self._max_pixels}
        try:
            return ProbedVideo(**self._pool.call("probe_video", arguments, limits=self._limits))
        except WorkerLimitError as error:
            message = f"looking at the file {error}: see platform.downloading.limits"
            raise VideoPermanentError(VideoErrorKind.LIMIT_EXCEEDED, message) from error
        except WorkerDiedError as error:
            raise VideoTransientError(VideoErrorKind.CRASHED, f"the process that looked at it {error}") from error

    def see(self, content: bytes, *, rows: int = 1, columns: int = 1, wanted: Sequence[int] = (0,)) -> list[RgbImage]:
        """Return those of the pictures of a storyboard that are wanted, by place; of a plain picture itself.

        Raises:
            UnreadableImageError: it is no picture, damaged, too large, or costs too much to decode.
        """
        arguments = {"rows": rows, "columns": columns, "wanted": list(wanted), "max_pixels": self._max_pixels}
        limits = WorkerLimits(_PICTURE_SECONDS, _PICTURE_SECONDS, self._limits.memory_bytes)
        with tempfile.TemporaryDirectory(prefix="data-miner-picture-") as folder:
            picture = Path(folder, "picture")
            picture.write_bytes(content)
            try:
                reason = self._pool.call("see_picture", {**arguments, "folder": folder}, limits=limits)
            except (WorkerLimitError, WorkerDiedError) as error:
                raise UnreadableImageError(f"decoding it {error}") from error
            if reason is not None:
                raise UnreadableImageError(reason)
            return list(np.asarray(np.load(Path(folder, "seen.npy"), allow_pickle=False), np.uint8))


def media_workers(config: DownloadingConfig, pool: WorkerPool | None = None) -> MediaWorkers:
    """Return workers for what downloads and listings bring, within `platform.downloading.limits`."""
    limits = WorkerLimits(config.max_wall_seconds, _VIDEO_CPU_SECONDS, config.limits.max_memory_bytes)
    return MediaWorkers(limits, max_pixels=config.max_pixels, pool=pool)
