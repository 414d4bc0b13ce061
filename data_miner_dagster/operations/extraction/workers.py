"""Decode videos in worker processes, one video at a time in each.

If a decoder crashes, hangs or uses too much memory, only its video fails.
"""

from typing import Any

from data_miner_dagster.domain.errors import VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.json_records import as_json
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.operations.foreign.media_requests import (
    JOBS_MODULE,
    FrameFolderJob,
    FrameFolderSummary,
    WindowsJob,
    WindowsSummary,
)
from data_miner_dagster.workers.errors import WorkerDiedError, WorkerLimitError
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.pool import WorkerPool


class FrameWorkers:
    """A client of worker processes that write folders of frames and of windows. Thread-safe."""

    def __init__(self) -> None:
        self._pool = WorkerPool(JOBS_MODULE)

    def __enter__(self) -> "FrameWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, even those that are busy."""
        self._pool.close()

    @property
    def process_ids(self) -> list[int]:
        """The ids of the current workers."""
        return self._pool.process_ids

    def make_frame_folder(self, job: FrameFolderJob) -> FrameFolderSummary:
        """Run the job `make_frame_folder` in a worker, within `job.config.limits`.

        Raises:
            VideoPermanentError: the job raised it, or (LIMIT_EXCEEDED) time or memory ran out.
            VideoTransientError: (DISK_FULL) no space is left, or (CRASHED) the worker died.
            WorkerFaultError: an unexpected exception occurred in the worker.
            WorkersClosedError: `close` was called while the worker was running.
        """
        return FrameFolderSummary(**self._call("make_frame_folder", job))

    def store_windows(self, job: WindowsJob) -> WindowsSummary:
        """Run the job `store_windows` in a worker, within `job.config.limits`.

        Raises:
            VideoPermanentError: the job raised it, or (LIMIT_EXCEEDED) time or memory ran out.
            VideoTransientError: (DISK_FULL) no space is left, or (CRASHED) the worker died.
            WorkerFaultError: an unexpected exception occurred in the worker.
            WorkersClosedError: `close` was called while the worker was running.
        """
        return WindowsSummary(**self._call("store_windows", job))

    def _call(self, name: str, job: FrameFolderJob | WindowsJob) -> dict[str, Any]:
        limits = job.config.limits
        # Windows need no retry: the next detection requests them again.
        again = ", then run `data-miner retry --kind limit_exceeded`" if name == "make_frame_folder" else ""
        try:
            answer: dict[str, Any] = self._pool.call(
                name,
                as_json(job),
                limits=WorkerLimits(
                    wall_seconds=limits.max_seconds,
                    cpu_seconds=limits.max_seconds * (job.num_threads + 1),  # decoder threads, and one that encodes
                    memory_bytes=limits.max_memory_bytes,
                ),
            )
            return answer
        except WorkerLimitError as error:
            reason = {
                "wall": f"takes longer than platform.extraction.limits.max_seconds={limits.max_seconds:g}; raise the "
                f"limit{again}",
                "cpu": f"takes more CPU time than platform.extraction.limits.max_seconds={limits.max_seconds:g} allows"
                f"; raise the limit{again}",
                "memory": f"needs more than platform.extraction.limits.max_memory_bytes={limits.max_memory_bytes}; "
                f"raise the limit{again}",
            }.get(error.which, str(error))
            raise VideoPermanentError(VideoErrorKind.LIMIT_EXCEEDED, f"decoding {reason}") from error
        except WorkerDiedError as error:
            raise VideoTransientError(VideoErrorKind.CRASHED, f"the decoder {error}") from error
