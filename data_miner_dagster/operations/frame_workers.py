"""Each video is decoded in a process apart, so that a decoder that crashes, hangs or eats memory ends that video only.

Both ends of one protocol: a line of JSON with a job goes in, a line of JSON with what became of it comes out. A worker
serves one job after the other and leaves when its input closes, which the end of the parent, however sudden, does.
"""

import errno
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from queue import Empty, LifoQueue, SimpleQueue
from typing import IO, Any, Final

import data_miner_dagster
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.operations.frame_folder import FrameFolderJob, FrameFolderSummary, make_frame_folder
from data_miner_dagster.operations.frame_import import import_frame_folder

_MODULE: Final = "data_miner_dagster.operations.frame_workers"
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_LAST_WORDS: Final = 400
_LEAVE_SECONDS: Final = 2.0


class FrameWorkersClosedError(RuntimeError):
    """The pool was closed while a job ran: nothing is known of the video."""


class FrameWorkers:
    """Worker processes, started as they are needed, reused, and replaced when they die. Safe to share by threads."""

    def __init__(self) -> None:
        self._idle: LifoQueue[_Worker] = LifoQueue()
        self._all: list[_Worker] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> "FrameWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        with self._lock:
            self._is_closed = True
            workers, self._all = self._all, []
        for worker in workers:
            worker.end()

    def make_frame_folder(self, job: FrameFolderJob) -> FrameFolderSummary:
        """The same as the function of that name, in a worker and within `job.config.limits`.

        Raises:
            VideoPermanentError: as the function does; LIMIT_EXCEEDED too when time or memory runs out.
            VideoTransientError: DISK_FULL, or CRASHED: the worker died.
            FrameWorkersClosedError: `close` was called meanwhile.
        """
        with self._borrowed() as worker:
            try:
                answer = worker.ask(_job_to_json(job), timeout_seconds=job.config.limits.max_seconds)
            except TimeoutError as error:
                raise VideoPermanentError(
                    VideoErrorKind.LIMIT_EXCEEDED,
                    f"decoding took longer than extraction.limits.max_seconds={job.config.limits.max_seconds:g}",
                ) from error
            except EOFError as error:
                if self._is_closed:
                    raise FrameWorkersClosedError from error
                raise VideoTransientError(VideoErrorKind.CRASHED, f"the decoder {error}") from error
        if "summary" in answer:
            return FrameFolderSummary(**answer["summary"])
        kind = VideoErrorKind(answer["kind"])
        failure = VideoTransientError if kind.is_transient else VideoPermanentError
        raise failure(kind, answer["message"])

    @property
    def process_ids(self) -> list[int]:
        """The workers that there are now."""
        with self._lock:
            return [worker.process_id for worker in self._all]

    @contextmanager
    def _borrowed(self) -> "Iterator[_Worker]":
        try:
            worker = self._idle.get_nowait()
        except Empty:
            worker = _Worker()
            with self._lock:
                if self._is_closed:
                    worker.end()
                    raise FrameWorkersClosedError from None
                self._all.append(worker)
        try:
            yield worker
        finally:
            if worker.is_alive:
                self._idle.put(worker)
            else:
                worker.end()
                with self._lock:
                    if worker in self._all:
                        self._all.remove(worker)


class _Worker:
    """The parent's end of one process."""

    def __init__(self) -> None:
        # The same code as ours, whatever folder we stand in.
        source = str(Path(data_miner_dagster.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": path},
        )

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, job: dict[str, Any], *, timeout_seconds: float) -> dict[str, Any]:
        """Send a job and wait for its answer.

        Raises:
            TimeoutError: there was none in time; the worker has been killed.
            EOFError: the worker died; the message says how.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stderr.seek(0)
        self._stderr.truncate()
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise EOFError(self._last_words()) from None
        line = self._read_line(self._process.stdout, time.monotonic() + timeout_seconds)
        if not line.endswith(b"\n"):
            raise EOFError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _read_line(self, stream: IO[bytes], deadline: float) -> bytes:
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.end()
                    raise TimeoutError
                chunk = os.read(stream.fileno(), 1 << 16)
                if not chunk:
                    break
                line += chunk
        return line

    def _last_words(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        words = self._stderr.read().decode(errors="replace").strip()[-_LAST_WORDS:].splitlines()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"{how}: {words[-1]}" if words else how

    def end(self) -> None:
        self._process.kill()
        self._process.wait(_LEAVE_SECONDS)
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()


def _job_to_json(job: FrameFolderJob) -> dict[str, Any]:
    return {
        "video_key": job.video_key,
        "video_path": str(job.video_path),
        "folder": str(job.folder),
        "fingerprint": job.fingerprint,
        "config": job.config.model_dump(mode="json"),
        "num_threads": job.num_threads,
        "picture_paths": [str(path) for path in job.picture_paths],
    }


def _job_from_json(content: dict[str, Any]) -> FrameFolderJob:
    return FrameFolderJob(
        video_key=content["video_key"],
        video_path=Path(content["video_path"]),
        folder=Path(content["folder"]),
        fingerprint=content["fingerprint"],
        config=ExtractionConfig.model_validate(content["config"]),
        num_threads=content["num_threads"],
        picture_paths=tuple(map(Path, content["picture_paths"])),
    )


def _answer(job: FrameFolderJob) -> dict[str, Any]:
    try:
        with _memory_limit(job.config.limits.max_memory_bytes):
            return {"summary": asdict(import_frame_folder(job) if job.picture_paths else make_frame_folder(job))}
    except (VideoPermanentError, VideoTransientError) as error:
        return {"kind": error.kind.value, "message": str(error)}
    except MemoryError:
        limit = job.config.limits.max_memory_bytes
        message = f"decoding needs more than extraction.limits.max_memory_bytes={limit}"
        return {"kind": VideoErrorKind.LIMIT_EXCEEDED.value, "message": message}
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        return {"kind": VideoErrorKind.DISK_FULL.value, "message": f"no space left for frames: {error}"}


@contextmanager
def _memory_limit(num_bytes: int) -> Iterator[None]:
    """Let the data segment grow by so much more than it has now. Source: setrlimit(2), RLIMIT_DATA."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data_bytes() + num_bytes
    soft = wanted if before[1] == resource.RLIM_INFINITY else min(wanted, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    """Source: proc(5): the sixth field of statm is data and stack, in pages. 0 where there is no /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[5]) * resource.getpagesize() if statm.exists() else 0


def serve() -> None:
    """Serve jobs from standard input until it closes. An error that is not expected ends the process, and is seen."""
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    jobs: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            jobs.put(json.loads(line))
        os._exit(0)  # the parent is gone: what is half done is of no use to anyone

    threading.Thread(target=listen, name="jobs", daemon=True).start()
    while True:
        answer = _answer(_job_from_json(jobs.get()))
        answers.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    serve()
