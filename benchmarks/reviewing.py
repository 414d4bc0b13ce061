"""Measure the response times and memory of the review pages, on a planted project.

    python -m benchmarks.reviewing                   # 100,000 frames of 1,000 videos, with five boxes each
    python -m benchmarks.reviewing --quick           # 5,000 frames
    python -m benchmarks.reviewing --json

The tables are like those that the stages write. There are no pictures, since no page needs one. Two detectors agree on
a third of the boxes. Each size runs in a process of its own, so that its memory is its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.tables import (
    DEDUPLICATED_SCHEMA,
    DETECTED_FRAMES_SCHEMA,
    DETECTIONS_SCHEMA,
    FILTERED_SCHEMA,
)
from data_miner_dagster.domain.verdicts import ReviewQueue, VerdictWord
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.ranking import QUEUES
from data_miner_dagster.operations.reviewing.records import Answer, ReviewItem
from data_miner_dagster.operations.reviewing.review import Review, open_review
from data_miner_dagster.storage.tables import table_writer
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.frames import write_frames

PROJECT: Final = "benchmark"
CLASSES: Final = tuple(f"class {number}" for number in range(10))
FRAMES_PER_VIDEO: Final = 400  # filtering drops half of them, and a release would contain a quarter
BOXES_PER_FRAME: Final = 5
PAGE_SIZE: Final = 50
NUM_ANSWERS: Final = 100


def plant(root: Path, num_frames: int) -> None:
    """Write the tables of a project whose release would have this number of frames."""
    platform = Platform(PlatformConfig(), root)
    config = ProjectConfig.model_validate(
        {
            "name": PROJECT,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": {"positive": ["a thing"], "positive_threshold": 0.3},
            "detection": {"classes": {name: [] for name in CLASSES}, "detectors": ["lite-detector", "yolo-world"]},
        }
    )
    dump = config.model_dump(mode="json")
    save_snapshot(platform.database, PROJECT, dump, fingerprint_of(dump), None)
    keys = [f"files-v{number:06d}" for number in range(-(-num_frames * 4 // FRAMES_PER_VIDEO))]
    for key in keys:
        add_video(platform.database, key, PROJECT, status=VideoStatus.EXTRACTED, num_frames=FRAMES_PER_VIDEO)
        write_frames(platform.layout, key, FRAMES_PER_VIDEO, width=1280, height=720)
    layout = platform.layout
    rows = {
        layout.filtered_table(PROJECT): (FILTERED_SCHEMA, _filtered),
        layout.deduplicated_table(PROJECT): (DEDUPLICATED_SCHEMA, _deduplicated),
        layout.detections_table(PROJECT): (DETECTIONS_SCHEMA, _detections),
        layout.detected_frames_table(PROJECT): (DETECTED_FRAMES_SCHEMA, _detected),
    }
    for path, (schema, columns_of) in rows.items():
        with table_writer(path, schema, fingerprint="planted") as writer:
            for some in _portions(keys, 100):
                tables = [_table(columns_of(key), schema) for key in some]
                writer.write_table(pa.concat_tables(tables))


def _table(columns: Mapping[str, Sized], schema: pa.Schema) -> pa.Table:
    """Return a table with these columns; the other columns of the schema are null."""
    number = len(next(iter(columns.values())))
    return pa.table({name: columns.get(name, [None] * number) for name in schema.names}, schema=schema)


def _portions(keys: list[str], size: int) -> Iterator[list[str]]:
    yield from (keys[start : start + size] for start in range(0, len(keys), size))


def _random(key: str) -> np.random.Generator:
    return np.random.default_rng(list(key.encode()))


def _of_frames(key: str, indices: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {
        "frame_id": [make_frame_id(key, index) for index in indices.tolist()],
        "video_key": [key] * len(indices),
        "frame_index": indices.astype(np.int32),
    }


def _filtered(key: str) -> dict[str, Any]:
    indices = np.arange(FRAMES_PER_VIDEO)
    kept = indices % 2 == 0
    similarity = 0.3 + np.where(kept, 1, -1) * _random(key).random(FRAMES_PER_VIDEO) * 0.2
    empty = {
        f"{kind}_{what}": [None] * FRAMES_PER_VIDEO
        for kind in ("negative", "junk")
        for what in ("similarity", "prompt")
    }
    return {
        **_of_frames(key, indices),
        "pts_seconds": indices.astype(np.float64),
        "positive_similarity": similarity.astype(np.float32),
        "positive_prompt": ["a thing"] * FRAMES_PER_VIDEO,
        **empty,
        "is_kept": kept,
        "drop_reason": [None if one else "below_positive" for one in kept.tolist()],
    }


def _deduplicated(key: str) -> dict[str, Any]:
    indices = np.arange(0, FRAMES_PER_VIDEO, 2)
    unique = indices % 4 == 0
    similarity = 0.9 + _random(key).random(len(indices)) * 0.1
    return {
        **_of_frames(key, indices),
        "is_representative": unique,
        "representative_frame_id": [make_frame_id(key, index // 4 * 4) for index in indices.tolist()],
        "similarity": pa.array(similarity, pa.float32(), mask=unique),
        "tier": [None if one else "within_video" for one in unique.tolist()],
        "quality_rank": np.arange(len(indices), dtype=np.int32),
        "generation": np.zeros(len(indices), np.int32),
    }


def _detections(key: str) -> dict[str, Any]:
    indices = np.repeat(np.arange(0, FRAMES_PER_VIDEO, 4), BOXES_PER_FRAME)
    random, number = _random(key), len(indices)
    left, top = random.random(number) * 1000, random.random(number) * 500
    confidences = np.sort(random.beta(1, 3, number).reshape(-1, BOXES_PER_FRAME), axis=1)[:, ::-1].reshape(-1)
    names = [CLASSES[index] for index in random.integers(0, len(CLASSES), number).tolist()]
    return {
        **_of_frames(key, indices),
        "class_name": names,
        "prompt": names,
        "confidence": np.maximum(confidences, 0.05).astype(np.float32),
        "x_min": left.astype(np.float32),
        "y_min": top.astype(np.float32),
        "x_max": (left + 100).astype(np.float32),
        "y_max": (top + 100).astype(np.float32),
        "detector": ["lite-detector+yolo-world"] * number,
        "num_agreeing_detectors": random.integers(1, 4, number).astype(np.int32) // 3 + 1,
    }


def _detected(key: str) -> dict[str, Any]:
    indices = np.arange(0, FRAMES_PER_VIDEO, 4)
    return {
        "frame_id": [make_frame_id(key, index) for index in indices.tolist()],
        "image_sha256": ["0" * 64] * len(indices),
        "detection_fingerprint": ["planted"] * len(indices),
        "num_boxes": np.full(len(indices), BOXES_PER_FRAME, np.int32),
    }


def measure(root: Path) -> dict[str, float]:
    """Open the review, use it as a person would, and return the figures."""
    platform = Platform(PlatformConfig(), root)
    platform.project_config(PROJECT)
    before = _anonymous_bytes()
    review = open_review(platform, PROJECT)
    figures = {"open_seconds": _timed(review.queues)}
    figures["bytes_when_open"] = _anonymous_bytes() - before
    for queue in QUEUES:
        figures[f"{queue.value}_1000_by_{PAGE_SIZE}_seconds"] = _timed(partial(_walk, review, queue))
    figures["one_page_of_1000_seconds"] = _timed(lambda: review.page(ReviewQueue.UNSURE, size=1000))
    figures["class_by_name_seconds"] = _timed(lambda: review.page(ReviewQueue.BROWSING, class_name=CLASSES[0]))
    figures["video_by_name_seconds"] = _timed(lambda: review.page(ReviewQueue.BROWSING, video_key="files-v000001"))
    figures["answer_and_next_page_seconds"] = _timed(lambda: _answer(review)) / NUM_ANSWERS
    figures["bytes_after_all"] = _anonymous_bytes() - before
    return {name: round(value, 4) for name, value in figures.items()}


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _walk(review: Review, queue: ReviewQueue) -> list[ReviewItem]:
    items: list[ReviewItem] = []
    cursor = None
    while len(items) < 1000:
        page = review.page(queue, cursor=cursor, size=PAGE_SIZE)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return items


def _answer(review: Review) -> None:
    for number in range(NUM_ANSWERS):
        (item,) = review.page(ReviewQueue.UNSURE, size=1).items
        asked = next(box for box in item.frame.boxes if box.is_asked)
        frame = item.frame
        answer = Answer(
            f"answer {number}",
            VerdictWord.WRONG,
            ReviewQueue.UNSURE,
            frame.frame_id,
            frame.place.pts_seconds,
            asked.shown,
        )
        review.give(answer, who="Ada")


def _anonymous_bytes() -> int:
    """Return the memory of this process that is not backed by a file."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no line RssAnon")


def main() -> None:
    """Plant projects, and print the cost of reviewing them."""
    parser = argparse.ArgumentParser(description="Measure the pages of a review.")
    parser.add_argument("--frames", type=int, default=100_000, help="the number of frames that a release would have")
    parser.add_argument("--quick", action="store_true", help="5,000 frames")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return
    num_frames = 5_000 if options.quick else options.frames
    figures: dict[str, float] = {"frames": num_frames, "boxes": num_frames * BOXES_PER_FRAME}
    with tempfile.TemporaryDirectory() as folder:
        few, many = num_frames // 10, num_frames
        by_size: dict[int, dict[str, float]] = {}
        for size in (few, many):
            root = Path(folder) / str(size)
            plant(root, size)
            command = [sys.executable, "-m", "benchmarks.reviewing", "--measure", str(root)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            by_size[size] = json.loads(output.splitlines()[-1])
        figures |= by_size[many]
        for name in ("bytes_when_open", "bytes_after_all"):
            figures[f"{name}_per_further_frame"] = round((by_size[many][name] - by_size[few][name]) / (many - few), 1)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<44} {value:,}")


if __name__ == "__main__":
    main()
