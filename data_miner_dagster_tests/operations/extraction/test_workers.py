"""Test worker processes that are really killed, hang or run out of memory."""

import os
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.operations.extraction.workers import FrameWorkers
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob
from data_miner_dagster.workers.errors import WorkerFaultError, WorkersClosedError
from data_miner_dagster_tests.support.barcode_clips import make_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", num_frames=40)


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Return a file that a worker never finishes reading: a pipe that nobody writes to."""
    path = tmp_path / "endless.mp4"
    os.mkfifo(path)
    return path


def job_for(clip: Path, folder: Path, **settings: Any) -> FrameFolderJob:
    folder.mkdir()
    return FrameFolderJob("file-1", clip, folder, "fingerprint", ExtractionConfig.model_validate(settings))


def when_started(workers: FrameWorkers, sent: signal.Signals) -> threading.Thread:
    """Send a signal to the first worker as soon as one exists."""

    def send() -> None:
        while not workers.process_ids:
            time.sleep(0.005)
        os.kill(workers.process_ids[0], sent)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_make_frame_folder__one_worker_serves_many_jobs(clip: Path, tmp_path: Path) -> None:
    with FrameWorkers() as workers:
        summaries = [workers.make_frame_folder(job_for(clip, tmp_path / str(number))) for number in range(3)]
        [process_id] = workers.process_ids
    assert [summary.num_frames for summary in summaries] == [2, 2, 2]
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


def test_make_frame_folder__bad_video_keeps_its_reason_and_the_worker(clip: Path, tmp_path: Path) -> None:
    with FrameWorkers() as workers:
        with pytest.raises(VideoPermanentError) as failure:
            workers.make_frame_folder(job_for(tmp_path / "none.mp4", tmp_path / "a"))
        assert failure.value.kind is VideoErrorKind.MISSING_FILE
        before = workers.process_ids
        assert workers.make_frame_folder(job_for(clip, tmp_path / "b")).num_frames == 2
        assert workers.process_ids == before


def test_make_frame_folder__an_exception_says_which_and_where_and_the_worker_stays(clip: Path, tmp_path: Path) -> None:
    job = job_for(clip, tmp_path / "a")
    broken = replace(job, config=job.config.model_copy(update={"jpeg_quality": -1}))
    with FrameWorkers() as workers:
        with pytest.raises(
            WorkerFaultError, match=r"^ValidationError: 1 validation error for FrameFolderJob config.jpeg_quality"
        ) as fault:
            workers.make_frame_folder(broken)
        assert re.fullmatch(r"domain/json_records\.py:\d+", fault.value.place)
        before = workers.process_ids
        assert workers.make_frame_folder(job_for(clip, tmp_path / "b")).num_frames == 2
        assert workers.process_ids == before


@pytest.mark.parametrize("sent", [signal.SIGSEGV, signal.SIGKILL])
def test_make_frame_folder__crash_ends_that_video_only(
    clip: Path, endless: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    with FrameWorkers() as workers:
        killer = when_started(workers, sent)
        with pytest.raises(VideoTransientError) as failure:
            workers.make_frame_folder(job_for(endless, tmp_path / "a"))
        killer.join()
        assert failure.value.kind is VideoErrorKind.CRASHED
        assert sent.name in str(failure.value)
        assert workers.make_frame_folder(job_for(clip, tmp_path / "b")).num_frames == 2


def test_make_frame_folder__hanging_decoder_is_ended(clip: Path, endless: Path, tmp_path: Path) -> None:
    with FrameWorkers() as workers:
        stopper = when_started(workers, signal.SIGSTOP)  # only SIGKILL ends a stopped process
        with pytest.raises(VideoPermanentError) as failure:
            workers.make_frame_folder(job_for(endless, tmp_path / "a", limits={"max_seconds": 1.0}))
        stopper.join()
        assert failure.value.kind is VideoErrorKind.LIMIT_EXCEEDED
        assert "max_seconds=1" in str(failure.value)
        assert workers.make_frame_folder(job_for(clip, tmp_path / "b")).num_frames == 2


def test_make_frame_folder__memory_is_bounded(tmp_path: Path) -> None:
    large = make_clip(tmp_path / "large.mkv", num_frames=2, size=(7680, 4320), codec="mpeg4", options={"qscale": "31"})
    with FrameWorkers() as workers:
        with pytest.raises(VideoPermanentError) as failure:
            workers.make_frame_folder(job_for(large, tmp_path / "a", limits={"max_memory_bytes": 64 << 20}))
        assert failure.value.kind is VideoErrorKind.LIMIT_EXCEEDED
        assert "max_memory_bytes" in str(failure.value)


def test_close__while_a_job_runs(endless: Path, tmp_path: Path) -> None:
    workers = FrameWorkers()
    stopper = when_started(workers, signal.SIGSTOP)

    def close() -> None:
        stopper.join()
        workers.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(WorkersClosedError):
        workers.make_frame_folder(job_for(endless, tmp_path / "a"))
    closer.join()
    assert workers.process_ids == []
