"""Verdicts survive everything that a project rebuilds, byte for byte, and their questions are not asked again."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from sqlalchemy import text

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.verdicts import all_verdicts, verdicts_in_force
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.domain.verdicts import ReviewQueue, VerdictWord
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reviewing.records import Answer
from data_miner_dagster.operations.reviewing.review import Review, open_review
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings
from data_miner_dagster_tests.support.coloured_shapes import ColourDetector, jpeg_of
from data_miner_dagster_tests.support.frames import write_pictures
from data_miner_dagster_tests.support.living_project import PROJECT, LivingPlatform
from data_miner_dagster_tests.support.sample_project import build_project

SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}


def rows(platform: Platform) -> list[tuple[object, ...]]:
    """Return the rows of the verdicts table, ordered by id."""
    with platform.database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT * FROM verdicts ORDER BY id"))]


def asked(review: Review) -> dict[ReviewQueue, set[str]]:
    """Return the keys of all open questions about boxes and frames, by queue."""
    queues = (ReviewQueue.UNSURE, ReviewQueue.NEAR_THRESHOLD, ReviewQueue.RANDOM, ReviewQueue.FILTER)
    return {queue: {item.key for item in review.page(queue, size=100).items} for queue in queues}


def extract_again(platform: LivingPlatform) -> None:
    """Rewrite the video's frames with one more among them, so that two frames have a new index at their old time."""
    angles, fingerprint = [0, 40, 30, 60], "frames of files-a, again"
    contents = [jpeg_of([("red", (2, 2, 2 + angle // 3, 30))]) for angle in angles]
    seconds = [0.0, 0.5, 1.0, 2.0]
    write_pictures(platform.layout, "files-a", contents, fingerprint=fingerprint, pts_seconds=seconds)
    radians = np.radians(angles)
    vectors = np.zeros((4, platform.encoder.embedding_dim), np.float16)
    vectors[:, 0], vectors[:, 1] = np.cos(radians), np.sin(radians)
    made_from = embeddings_fingerprint_of(fingerprint, platform.encoder.fingerprint)
    stored = StoredEmbeddings(np.arange(4, dtype=np.int32), vectors, made_from)
    write_embeddings(platform.layout.embedding_file(platform.encoder.name, "files-a"), stored)
    with platform.database.transaction() as session:
        session.get_one(VideoRow, "files-a").num_frames = 4


def test_give__outlives_detector_thresholds_deduplication_and_extraction(tmp_path: Path) -> None:
    # The boxes are 1, 11 and 21 pixels wide. Their confidences are their shares of the picture: .009, .104 and .198.
    life = LivingPlatform(tmp_path)
    life.configure(keep=0.1, near=0.999, splits=SPLITS, confidence=0.3, unsure_from=0.15)
    life.add("files-a", [0, 30, 60])
    life.run_stages()
    review = open_review(life, PROJECT)
    (unsure,) = review.page(ReviewQueue.UNSURE).items
    assert unsure.frame.frame_id == "files-a/000002"
    wrong = Answer("wrong", VerdictWord.WRONG, ReviewQueue.UNSURE, "files-a/000002", 2.0, unsure.frame.boxes[0].shown)
    complete = Answer("complete", VerdictWord.COMPLETE, ReviewQueue.RANDOM, "files-a/000001", 1.0)
    keep = Answer("keep", VerdictWord.KEEP, ReviewQueue.FILTER, "files-a/000000", 0.0)
    for answer in (wrong, complete, keep):
        review.give(answer, who="Ada")
    before = rows(life)

    life = LivingPlatform(tmp_path, ColourDetector("others", "2", grow=1.0))
    life.configure(keep=0.45, near=0.99, splits=SPLITS, confidence=0.25, unsure_from=0.15)
    extract_again(life)
    life.run_stages()
    assert rows(life) == before
    review = open_review(life, PROJECT)
    assert asked(review) == {
        ReviewQueue.UNSURE: set(),
        ReviewQueue.NEAR_THRESHOLD: {"files-a/000000#0", "files-a/000001#0", "files-a/000002#0"},
        ReviewQueue.RANDOM: {"files-a/000000", "files-a/000001", "files-a/000003"},
        ReviewQueue.FILTER: {"files-a/000001", "files-a/000002", "files-a/000003"},
    }
    assert review.unmet() == ()
    release_project(life, PROJECT)
    released = read_table(
        life.layout.release_folder(PROJECT, "v001") / "data" / "images.parquet", ["frame_id", "num_boxes"]
    )
    assert dict(zip(*(released[name].to_pylist() for name in released.column_names), strict=True)) == {
        "files-a/000000": 0,
        "files-a/000001": 0,
        "files-a/000002": 0,
        "files-a/000003": 0,  # no longer held back because of a box that a person rejected
    }


_WRITER = """
import sys
from pathlib import Path
from data_miner_dagster.domain.verdicts import ReviewQueue, ShownBox, VerdictWord
from data_miner_dagster.operations.reviewing.records import Answer
from data_miner_dagster.operations.reviewing.review import open_review
from data_miner_dagster_tests.support.sample_project import build_platform

root, catalog_url, who = sys.argv[1:]
review = open_review(build_platform(Path(root), catalog_url=catalog_url), "cyclists")
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    drawn = ShownBox("person", (0.1, 0.1, 0.2 + number / 100, 0.9))
    answer = Answer(f"{who}{number}", VerdictWord.MISSING, ReviewQueue.RANDOM, "files-aaa/000003", 3.0, drawn)
    review.give(answer, who=who)
    review.give(Answer("both", VerdictWord.KEEP, ReviewQueue.FILTER, "files-aaa/000004", 4.0), who=who)
"""


def test_give__two_processes_lose_nothing(tmp_path: Path, catalog_url: str) -> None:
    platform = build_project(tmp_path, catalog_url=catalog_url)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), catalog_url, who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in ("Ada", "Ben")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=300)
        assert writer.returncode == 0
    stored = [one.verdict.answer_id for one in all_verdicts(platform.database, "cyclists")]
    assert sorted(stored) == sorted([*(f"{who}{number}" for who in ("Ada", "Ben") for number in range(20)), "both"])


def test_undo__the_one_before_counts_again(tmp_path: Path, catalog_url: str) -> None:
    platform = build_project(tmp_path, catalog_url=catalog_url)
    review = open_review(platform, "cyclists")
    keep = Answer("first", VerdictWord.KEEP, ReviewQueue.FILTER, "files-aaa/000004", 4.0)
    review.give(keep, who="Ada")
    review.give(replace(keep, answer_id="second", word=VerdictWord.DROP), who="Ben")
    assert [one.answer_id for one in verdicts_in_force(platform.database, "cyclists")] == ["second"]
    assert review.undo("second", who="Ada")
    assert [one.answer_id for one in verdicts_in_force(platform.database, "cyclists")] == ["first"]
    item = review.item(ReviewQueue.FILTER, "files-aaa/000004")
    assert item is not None
    assert item.frame.verdicts == {VerdictWord.KEEP: "first"}
