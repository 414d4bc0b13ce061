"""Files and pictures of strangers, looked at in a process apart, within limits that are set before their first byte.

The workers are those of extraction (`extraction/jobs.py`): whoever makes frames next finds its modules imported.
They come from the same interpreter as those that fetch (`site_jobs.py`), but are others: they get no secret.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import UnreadableImageError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import RgbImage, SeenPicture
from data_miner_dagster.media.outcomes import ProbedVideo
from data_miner_dagster.operations.foreign.media_requests import JOBS_MODULE
from data_miner_dagster.operations.foreign.pooled_workers import PooledWorkers
from data_miner_dagster.workers.errors import WorkerDiedError, WorkerLimitError
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.pool import WorkerPool

_PICTURE_SECONDS: Final = 60.0
_VIDEO_CPU_SECONDS: Final = 600.0
"""A file of 4 GB is read through in less than a minute; the rest is for decoding where nothing cheaper proves it."""


class MediaWorkers(PooledWorkers):
    """Worker processes that prove videos and decode pictures. Safe to share by threads; nothing starts before a call.

    Args:
        limits: what one file may cost.
        max_pixels: what one picture may have.
        pool: of a module that serves these jobs, closed together with this. None: one of its own.
    """

    def __init__(self, limits: WorkerLimits, *, max_pixels: int, pool: WorkerPool | None = None) -> None:
        self._limits = limits
        self._max_pixels = max_pixels
        super().__init__(pool or WorkerPool(JOBS_MODULE))

    @property
    def process_ids(self) -> list[int]:
        """The workers that there are now."""
        return self._pool.process_ids

    def probe(self, path: Path) -> ProbedVideo:
        """Run `probe_video` in a worker.

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
        with tempfile.NamedTemporaryFile(prefix="data-miner-picture-") as picture:
            picture.write(content)
            picture.flush()
            pixels, _ = self._decoded("see_picture", "it", {**arguments, "path": picture.name})
        return list(pixels)

    def see_file(self, path: Path, at_least_wh: tuple[int, int] | None = None) -> SeenPicture:
        """Run `small_picture` in a worker.

        Raises:
            UnreadableImageError: as there, or it costs too much to decode.
        """
        pixels, known = self._stored("see_file", path, {"at_least_wh": at_least_wh})
        width, height = known["full_wh"]
        return SeenPicture(pixels, (width, height))

    def read_stored(self, path: Path, sha256: str, *, min_side: int | None = None) -> RgbImage:
        """Run `read_stored_image` in a worker, or `read_stored_image_reduced` if there is a `min_side`.

        Raises:
            UnreadableImageError: as there, or it costs too much to decode.
        """
        return self._stored("read_stored", path, {"sha256": sha256, "min_side": min_side})[0]

    def _stored(self, job: str, path: Path, arguments: dict[str, Any]) -> tuple[RgbImage, dict[str, Any]]:
        arguments = {**arguments, "path": os.fspath(path)}
        try:
            return self._decoded(job, str(path), arguments)
        except _DiedOverPictureError:
            # It was decoded once, when it was stored: most likely something else ended this worker.
            return self._decoded(job, str(path), arguments)

    def _decoded(self, job: str, what: str, arguments: dict[str, Any]) -> tuple[RgbImage, dict[str, Any]]:
        """Return the pixels that a worker decodes, and what else it says of them."""
        limits = WorkerLimits(_PICTURE_SECONDS, _PICTURE_SECONDS, self._limits.memory_bytes)
        with tempfile.NamedTemporaryFile(prefix="data-miner-pixels-") as file:
            try:
                answer = self._pool.call(job, {**arguments, "pixels": file.name}, limits=limits)
            except WorkerLimitError as error:
                raise UnreadableImageError(f"decoding {what} {error}") from error
            except WorkerDiedError as error:
                raise _DiedOverPictureError(f"decoding {what}: the process {error}") from error
            if "reason" in answer:
                raise UnreadableImageError(answer["reason"])
            return np.fromfile(file, np.uint8).reshape(answer["shape"]), answer


class _DiedOverPictureError(UnreadableImageError):
    """A worker ended while it decoded a picture."""


def picture_workers(config: ExtractionConfig) -> MediaWorkers:
    """Return workers that decode pictures which were stored, within the limits in which they were."""
    limits = WorkerLimits(memory_bytes=config.limits.max_memory_bytes)
    return MediaWorkers(limits, max_pixels=config.limits.max_pixels)


def media_workers(config: DownloadingConfig, pool: WorkerPool | None = None) -> MediaWorkers:
    """Return workers for what downloads and listings bring, within `platform.downloading.limits`."""
    limits = WorkerLimits(config.max_wall_seconds, _VIDEO_CPU_SECONDS, config.limits.max_memory_bytes)
    return MediaWorkers(limits, max_pixels=config.max_pixels, pool=pool)
