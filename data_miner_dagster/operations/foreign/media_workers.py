"""Read untrusted files and pictures in separate processes, under limits that are set before the first byte is read.

By default, the workers also serve the jobs of extraction (`extraction/jobs.py`), so that extraction does not have to
import its modules again. While videos are downloaded from sites, the workers are instead forked from the same
interpreter as the workers that fetch (`site_jobs.py`), but are separate processes that get no secrets.
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
"""The CPU time allowed for verifying one video. Reading 4 GB takes less than a minute. The rest is for decoding, if
nothing cheaper can verify the file."""
_RETRY: Final = f"run `data-miner retry --kind {VideoErrorKind.LIMIT_EXCEEDED.value}`"
_REMEDIES: Final = {
    "wall": f"raise platform.downloading.max_wall_seconds, then {_RETRY}",
    "memory": f"raise platform.downloading.limits.max_memory_bytes, then {_RETRY}",
    "cpu": "re-encode the video, and add the new file instead",
    "answer": "re-encode the video, and add the new file instead",
}
"""The remedy for a video whose verification exceeds a limit, by the limit (`WorkerLimitError.which`)."""


class MediaWorkers(PooledWorkers):
    """A client of workers that verify videos and decode pictures. Thread-safe. The first call starts a worker.

    Args:
        limits: the limits for verifying one video. The memory limit also applies to decoding a picture, but the time
            limit for a picture is fixed.
        max_pixels: the maximum number of pixels in a picture or in a frame of a video.
        pool: a pool whose module serves the requested jobs. It is closed together with this object. If it is None, a
            new pool is created.
    """

    def __init__(self, limits: WorkerLimits, *, max_pixels: int, pool: WorkerPool | None = None) -> None:
        self._limits = limits
        self._max_pixels = max_pixels
        super().__init__(pool or WorkerPool(JOBS_MODULE))

    @property
    def process_ids(self) -> list[int]:
        """The ids of the current workers."""
        return self._pool.process_ids

    def probe(self, path: Path) -> ProbedVideo:
        """Verify a video file with `probe_video` in a worker. Return its properties.

        Raises:
            VideoPermanentError: `probe_video` raised it, or (LIMIT_EXCEEDED) time or memory ran out.
            VideoTransientError: (CRASHED) the worker died.
            WorkerFaultError: an unexpected exception occurred in the worker.
            WorkersClosedError: `close` was called while the worker was running.
        """
        arguments = {"path": os.fspath(path), "max_pixels": self._max_pixels}
        try:
            return ProbedVideo(**self._pool.call("probe_video", arguments, limits=self._limits))
        except WorkerLimitError as error:
            message = f"reading the file {error}; {_REMEDIES[error.which]}"
            raise VideoPermanentError(VideoErrorKind.LIMIT_EXCEEDED, message) from error
        except WorkerDiedError as error:
            raise VideoTransientError(VideoErrorKind.CRASHED, f"the process for reading the file {error}") from error

    def see(self, content: bytes, *, rows: int = 1, columns: int = 1, wanted: Sequence[int] = (0,)) -> list[RgbImage]:
        """Return the pictures at the positions in `wanted` from a storyboard with `rows` and `columns`.

        By default, `content` is a single picture. Positions beyond the storyboard are ignored.

        Raises:
            UnreadableImageError: the content is not a picture, is damaged or too large, or decoding it exceeds a
                limit or ends the worker.
            WorkerFaultError: an unexpected exception occurred in the worker.
            WorkersClosedError: `close` was called while the worker was running.
        """
        arguments = {"rows": rows, "columns": columns, "wanted": list(wanted), "max_pixels": self._max_pixels}
        with tempfile.NamedTemporaryFile(prefix="data-miner-picture-") as picture:
            picture.write(content)
            picture.flush()
            pixels, _ = self._decoded("see_picture", "the picture", {**arguments, "path": picture.name})
        return list(pixels)

    def see_file(self, path: Path, at_least_wh: tuple[int, int] | None = None) -> SeenPicture:
        """Return the picture in a file and its full size, as `small_picture` decodes it in a worker.

        `at_least_wh` is passed to `small_picture`. If it is None, the picture keeps its full size.

        Raises:
            UnreadableImageError: `small_picture` raised it, or decoding exceeded a limit or ended the worker.
            WorkerFaultError: an unexpected exception occurred in the worker.
            WorkersClosedError: `close` was called while the worker was running.
        """
        pixels, known = self._stored("see_file", path, {"at_least_wh": at_least_wh})
        width, height = known["full_wh"]
        return SeenPicture(pixels, (width, height))

    def read_stored(self, path: Path, sha256: str, *, min_side: int | None = None) -> RgbImage:
        """Return a stored image, decoded by `read_stored_image` in a worker.

        If `min_side` is given, the image is decoded by `read_stored_image_reduced` instead.

        Raises:
            UnreadableImageError: the function that decodes the image raised it, or decoding exceeded a limit or ended
                the worker.
            WorkerFaultError: an unexpected exception occurred in the worker.
            WorkersClosedError: `close` was called while the worker was running.
        """
        return self._stored("read_stored", path, {"sha256": sha256, "min_side": min_side})[0]

    def _stored(self, job: str, path: Path, arguments: dict[str, Any]) -> tuple[RgbImage, dict[str, Any]]:
        arguments = {**arguments, "path": os.fspath(path)}
        try:
            return self._decoded(job, str(path), arguments)
        except _DiedOverPictureError:
            # The picture was decoded before, when it was stored, so most likely something else ended this worker.
            return self._decoded(job, str(path), arguments)

    def _decoded(self, job: str, what: str, arguments: dict[str, Any]) -> tuple[RgbImage, dict[str, Any]]:
        """Decode a picture in a worker. Return the uint8 pixels, and the worker's answer with further facts.

        Raises:
            UnreadableImageError: the picture, which the message calls `what`, cannot be decoded, exceeds a limit, or
                ends the worker.
        """
        limits = WorkerLimits(_PICTURE_SECONDS, _PICTURE_SECONDS, self._limits.memory_bytes)
        with tempfile.NamedTemporaryFile(prefix="data-miner-pixels-") as file:
            try:
                answer = self._pool.call(job, {**arguments, "pixels": file.name}, limits=limits)
            except WorkerLimitError as error:
                raise UnreadableImageError(f"decoding {what} {error}") from error
            except WorkerDiedError as error:
                raise _DiedOverPictureError(f"the process for decoding {what} {error}") from error
            if "reason" in answer:
                raise UnreadableImageError(answer["reason"])
            return np.fromfile(file, np.uint8).reshape(answer["shape"]), answer


class _DiedOverPictureError(UnreadableImageError):
    """Raised when a worker ends while it decodes a picture."""


def picture_workers(config: ExtractionConfig) -> MediaWorkers:
    """Return workers that decode stored pictures, with the limits on memory and pixels in `platform.extraction`."""
    limits = WorkerLimits(memory_bytes=config.limits.max_memory_bytes)
    return MediaWorkers(limits, max_pixels=config.limits.max_pixels)


def media_workers(config: DownloadingConfig, pool: WorkerPool | None = None) -> MediaWorkers:
    """Return workers for the videos and pictures of downloads and listings, limited by `platform.downloading`.

    `pool` is the pool to use, as in `MediaWorkers`, or None to create one.
    """
    limits = WorkerLimits(config.max_wall_seconds, _VIDEO_CPU_SECONDS, config.limits.max_memory_bytes)
    return MediaWorkers(limits, max_pixels=config.max_pixels, pool=pool)
