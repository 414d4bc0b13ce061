"""Test foreign files in separate processes: what they may use, and what is reported if they use more."""

import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.domain.errors import UnreadableImageError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.probe import probe_video
from data_miner_dagster.operations.foreign.media_workers import MediaWorkers
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster_tests.media.test_foreign_pictures import PHOTO, PIXELS, bomb, coded
from data_miner_dagster_tests.support.barcode_clips import make_clip

MEMORY = 512 << 20


@pytest.fixture(scope="module")
def workers() -> Iterator[MediaWorkers]:
    with MediaWorkers(WorkerLimits(60, 60, MEMORY), max_pixels=10**7) as pool:
        yield pool


def test_probe__as_in_this_process(workers: MediaWorkers, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", num_frames=20)
    assert workers.probe(clip) == probe_video(clip, max_pixels=10**7)
    (tmp_path / "b.mp4").write_bytes(clip.read_bytes()[:2000])
    with pytest.raises(VideoPermanentError) as failure:
        workers.probe(tmp_path / "b.mp4")
    assert failure.value.kind is VideoErrorKind.TRUNCATED


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def with_many_samples(path: Path, num_samples: int) -> Path:
    """Make the tables of a small mp4 claim `num_samples` samples for a track, in a few bytes."""
    content = make_clip(path, num_frames=4, container_options={"movflags": "faststart"}).read_bytes()
    for kind, table in (
        (b"stts", struct.pack(">4I", 0, 1, num_samples, 1)),
        (b"stsz", struct.pack(">3I", 0, 1, num_samples)),
        (b"stsc", struct.pack(">5I", 0, 1, 1, num_samples, 1)),
    ):
        start = content.index(kind) - 4
        (size,) = struct.unpack(">I", content[start : start + 4])
        padding = size - 8 - len(table)
        assert padding >= 0
        content = content[:start] + box(kind, table, bytes(padding)) + content[start + size :]
    path.write_bytes(content)
    return path


def test_probe__tables_that_promise_millions_of_samples(workers: MediaWorkers, tmp_path: Path) -> None:
    clip = with_many_samples(tmp_path / "a.mp4", 80_000_000)
    with pytest.raises(VideoPermanentError):
        workers.probe(clip)
    [process_id] = workers.process_ids
    peak = next(line for line in Path(f"/proc/{process_id}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) << 10 < 3 * MEMORY


def test_probe__a_good_file_for_which_memory_is_too_short_is_not_called_bad(tmp_path: Path) -> None:
    large = make_clip(tmp_path / "large.mkv", num_frames=2, size=(7680, 4320), codec="mpeg4", options={"qscale": "31"})
    with MediaWorkers(WorkerLimits(60, 60, 64 << 20), max_pixels=10**8) as workers:
        with pytest.raises(VideoPermanentError) as failure:
            workers.probe(large)
        assert failure.value.kind is VideoErrorKind.LIMIT_EXCEEDED
        assert "raise platform.downloading.limits.max_memory_bytes" in str(failure.value)
    with MediaWorkers(WorkerLimits(60, 60, 2 << 30), max_pixels=10**8) as workers:
        assert workers.probe(large).width == 7680


@pytest.mark.parametrize(
    ("sent", "expected", "kind"),
    [
        (signal.SIGKILL, VideoTransientError, VideoErrorKind.CRASHED),
        (signal.SIGSTOP, VideoPermanentError, VideoErrorKind.LIMIT_EXCEEDED),
    ],
)
def test_probe__worker_that_crashes_or_hangs(
    sent: signal.Signals,
    expected: type[VideoPermanentError] | type[VideoTransientError],
    kind: VideoErrorKind,
    tmp_path: Path,
) -> None:
    endless, clip = tmp_path / "endless.mp4", make_clip(tmp_path / "a.mp4", num_frames=20)
    os.mkfifo(endless)  # nobody writes to it, so the worker cannot finish before it is killed
    with MediaWorkers(WorkerLimits(3.0, None, None), max_pixels=10**7) as workers:

        def hit() -> None:
            while not workers.process_ids:
                time.sleep(0.001)
            os.kill(workers.process_ids[0], sent)

        hitting = threading.Thread(target=hit)
        hitting.start()
        with pytest.raises(expected) as failure:
            workers.probe(endless)
        hitting.join()
        assert getattr(failure.value, "kind", None) is kind
        if kind is VideoErrorKind.LIMIT_EXCEEDED:
            remedy = "raise platform.downloading.max_wall_seconds, then run `data-miner retry --kind limit_exceeded`"
            assert str(failure.value).endswith(f"takes longer than 3 s; {remedy}")
        assert workers.probe(clip).width == 192


def test_see__picture_and_storyboard(workers: MediaWorkers) -> None:
    [seen] = workers.see(coded(PHOTO, "PNG"))
    assert np.array_equal(seen, PIXELS)
    tiles = workers.see(coded(PHOTO, "PNG"), rows=2, columns=2, wanted=[3, 0, 9])
    assert [tile.tolist() for tile in tiles] == [PIXELS[60:, 80:].tolist(), PIXELS[:60, :80].tolist()]


@pytest.mark.parametrize("content", [b"", bomb(32_000, 32_000), bomb(40_000, 40_000)])
def test_see__bombs_are_refused_by_their_header(workers: MediaWorkers, content: bytes) -> None:
    with pytest.raises(UnreadableImageError, match=r"empty|more than the limit"):
        workers.see(content)
