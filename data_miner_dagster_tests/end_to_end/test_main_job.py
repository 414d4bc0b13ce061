"""Tests the main job, from a YAML file to a released dataset, with real clips, models, downloads and database."""

import contextlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO

from data_miner_dagster_tests.end_to_end.commands import (
    command,
    data_miner,
    digests,
    environment,
    kill_when,
    project,
    result_digests,
    upload_again,
    write_yaml,
)
from data_miner_dagster_tests.end_to_end.conftest import RecordingServer
from data_miner_dagster_tests.end_to_end.platform_process import DagsterDev
from data_miner_dagster_tests.support.span_collector import SpanCollector

pytestmark = [pytest.mark.slow(270), pytest.mark.models, pytest.mark.timeout(2400)]

PLAIN = "plain.yaml"
"""The project file of `finished` that logs in human-readable form."""


def release_folder(root: Path, name: str) -> Path:
    versions = sorted((root / "releases" / name).iterdir())
    assert versions, "nothing was released"
    return versions[-1]


def read_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.fixture(scope="module")
def collector() -> Iterator[SpanCollector]:
    collector = SpanCollector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def finished(
    clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, collector: SpanCollector
) -> tuple[Path, Path, str]:
    """Return the root, project file and output of a finished run over a folder of good and bad files."""
    base = tmp_path_factory.mktemp("finished")
    folder = base / "clips"
    folder.mkdir()
    for name in ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4"):
        shutil.copyfile(clips[name], folder / name)
    upload_again(clips["bikes.mp4"], folder / "bikes_again.mkv")
    (folder / "page.mp4").write_text("<!doctype html><html><body>Not found</body></html>")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "truncated.mp4").write_bytes(clips["bikes.mp4"].read_bytes()[:200_000])
    for file in folder.iterdir():
        os.utime(file, (0, 0))  # hashes of recently changed files are not cached
    content = project("street", [{"type": "files", "paths": ["clips"]}])
    write_yaml(base / PLAIN, content)
    logging = {"logging": {"format": "json"}}
    config = write_yaml(base / "street.yaml", {**content, "platform": {**_platform_of(content), **logging}})
    env = environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector.address)
    done = data_miner("run", "--config", config, "--root", base / "root", env=env)
    assert done.returncode == 0, done.stdout
    return base / "root", config, done.stdout


def _platform_of(content: Mapping[str, object]) -> Mapping[str, object]:
    platform = content["platform"]
    assert isinstance(platform, dict)
    return platform


def test_run__every_line_of_the_log_says_what_it_is_about(finished: tuple[Path, Path, str]) -> None:
    root, _, output = finished
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    with contextlib.closing(sqlite3.connect(root / "dagster_home" / "history" / "runs.db")) as history:
        jobs = dict(history.execute("SELECT run_id, pipeline_name FROM runs"))
    keys = {row["key"] for row in json.loads(data_miner("videos", "--root", root, "--json").stdout)}
    in_runs = [
        line for line in lines if line["logger"].startswith("data_miner_dagster.") and ".cli." not in line["logger"]
    ]
    assert {line.get("run_id") for line in in_runs} == set(jobs)  # every line has a run id
    stages = {"sourcing", "downloading", "extraction", "embedding", "filtering", "deduplication", "detection"}
    assert {line.get("stage") for line in in_runs} == {*stages, "releasing"}
    assert {line["project"] for line in in_runs} == {"street"}
    of_videos = [line for line in in_runs if any(key in line["message"] for key in keys)]
    assert {line["video"] for line in of_videos} == keys
    assert all(line["video"] in line["message"] for line in of_videos)


def test_run__a_collector_has_spans_of_runs_stages_and_items(
    finished: tuple[Path, Path, str], collector: SpanCollector
) -> None:
    root, _, _ = finished
    rows = json.loads(data_miner("videos", "--root", root, "--json").stdout)
    by_id = {span.span_id: span for span in collector.spans}
    names = Counter(span.name for span in collector.spans)
    assert names["downloading video"] == len(rows)
    assert names["extraction video"] >= names["embedding video"] == 4
    for stage in ("filtering", "deduplication", "detection", "releasing"):
        assert (names[stage], names[f"{stage} project"]) == (1, 1)
    for span in collector.spans:
        if span.name.endswith((" video", " project")):
            above = by_id[span.parent_id]
            assert above.name == span.name.partition(" ")[0]
            assert by_id[above.parent_id].name.startswith("run ")
    failed = {span.attributes["error.type"] for span in collector.spans if span.is_error}
    assert failed == {row["error_kind"] for row in rows if row["error_kind"]}


def test_run__releases_what_is_good_and_says_why_the_rest_is_not(finished: tuple[Path, Path, str]) -> None:
    root, _, output = finished
    status = json.loads(data_miner("videos", "--root", root, "--project", "street", "--json").stdout)
    by_kind = sorted(row["error_kind"] for row in status if row["error_kind"])
    assert by_kind == ["empty_file", "not_a_video", "truncated"]
    assert sorted(row["status"] for row in status).count("EXTRACTED") == 4
    assert all(row["error"] for row in status if row["error_kind"])
    for why in ("): file empty: ", "): not a video: ", "): cut short: "):
        assert why in output
    assert "release" in output
    assert "index.html" in output


def test_run__release_reads_back_with_the_libraries_of_its_formats(finished: tuple[Path, Path, str]) -> None:
    root, _, _ = finished
    release = release_folder(root, "street")
    manifest = json.loads((release / "release.json").read_text())
    coco_images = coco_boxes = 0
    for split in ("train", "val", "test"):
        coco = read_coco(release / "annotations" / f"instances_{split}.json")
        coco_images += len(coco.imgs)
        coco_boxes += len(coco.anns)
        for annotation in coco.anns.values():
            image = coco.imgs[annotation["image_id"]]
            x, y, width, height = annotation["bbox"]
            assert 0 <= x < x + width <= image["width"] + 1e-3
            assert 0 <= y < y + height <= image["height"] + 1e-3
    images = sorted((release / "images").rglob("*.jpg"))
    assert len(images) == coco_images > 0
    assert coco_boxes > 0
    whole = read_coco(release / "annotations" / "instances_all.json")
    assert (len(whole.imgs), len(whole.anns)) == (coco_images, coco_boxes)
    assert len(pd.read_parquet(release / "data" / "images.parquet")) == coco_images
    boxes = pd.read_parquet(release / "data" / "boxes.parquet")
    assert len(boxes) == coco_boxes
    assert (boxes["confidence"] >= 0.25).all()
    labels = [line for path in (release / "labels").rglob("*.txt") for line in path.read_text().splitlines()]
    assert len(labels) == coco_boxes
    assert manifest["project"] == "street"


def test_run__finds_the_duplicate_pair_and_drops_the_cartoon(finished: tuple[Path, Path, str]) -> None:
    root, _, _ = finished
    table = pd.read_parquet(root / "projects" / "street" / "deduplicated.parquet")
    groups = table.groupby("representative_frame_id")["video_key"].nunique()
    assert (groups > 1).any(), "a clip and its second upload share no duplicate group"
    filtered = pd.read_parquet(root / "projects" / "street" / "filtered.parquet")
    assert set(filtered["is_kept"]) == {True, False}
    assert filtered.loc[~filtered["is_kept"], "drop_reason"].notna().all()
    assert np.isfinite(filtered["positive_similarity"]).all()


def test_similar__words_find_the_clip_that_shows_them(finished: tuple[Path, Path, str]) -> None:
    root, _, _ = finished
    found = json.loads(data_miner("similar", "a bicycle", "--count", "5", "--json", "--root", root).stdout)
    assert {frame["video"] for frame in found["frames"]} <= {"bikes.mp4", "bikes_again.mkv", "truncated.mp4"}
    assert found["query"] == "the text 'a bicycle'"


def test_run__no_event_carries_more_than_a_kilobyte_of_metadata(finished: tuple[Path, Path, str]) -> None:
    root, _, _ = finished
    with contextlib.closing(sqlite3.connect(root / "dagster_home" / "history" / "runs" / "index.db")) as index:
        rows = index.execute("SELECT asset_key, event FROM event_logs WHERE event LIKE '%metadata%'").fetchall()
    largest: dict[str, int] = {}
    for asset_key, event in rows:
        told = json.loads(event)["dagster_event"]["event_specific_data"]
        entries = (told.get("materialization") or told.get("asset_observation") or {}).get("metadata_entries")
        size = len(json.dumps(entries or told.get("metadata", {})))
        name = json.loads(asset_key)[0] if asset_key else told["check_name"]
        largest[name] = max(largest.get(name, 0), size)
    assert set(largest) >= {
        *("project_videos", "videos", "frames", "frame_embeddings", "filtered_frames", "deduplicated_frames"),
        *("detections", "dataset", "every_frame_is_decided", "release_is_whole"),
    }
    assert max(largest.values()) <= 1_000, largest
    sheets = sorted(path.name for path in (root / "previews" / "projects" / "street").iterdir())
    assert sheets == ["dataset.webp", "deduplicated_frames.webp", "detections.webp", "filtered_frames.webp"]
    assert len(list((root / "previews" / "videos").iterdir())) == 4


def test_run__a_second_run_changes_nothing_and_says_so(finished: tuple[Path, Path, str]) -> None:
    root, config, _ = finished
    before = result_digests(root) | digests(root / "videos")
    modified = {path: path.stat().st_mtime_ns for path in (root / "frames").rglob("*.jpg")}
    again = data_miner("run", "--config", config, "--root", root)
    assert again.returncode == 0, again.stdout
    assert "nothing to do" in again.stdout
    assert result_digests(root) | digests(root / "videos") == before
    assert {path: path.stat().st_mtime_ns for path in (root / "frames").rglob("*.jpg")} == modified


def test_run__changed_sampling_is_refused_in_one_line(finished: tuple[Path, Path, str]) -> None:
    root, config, _ = finished
    text = config.read_text().replace("every_seconds: 1.0", "every_seconds: 2.0")
    changed = config.with_name("changed.yaml")
    changed.write_text(text)
    refused = data_miner("run", "--config", changed, "--root", root)
    assert refused.returncode != 0
    assert len(refused.stdout.strip().splitlines()) == 1, refused.stdout
    assert "every_seconds is 2.0, but was 1.0" in refused.stdout


def test_run__killed_at_every_stage_in_another_root_ends_in_the_same_bytes(
    finished: tuple[Path, Path, str], tmp_path: Path
) -> None:
    calm, config, _ = finished
    run: list[str | Path] = ["run", "--config", config.with_name(PLAIN), "--root", tmp_path / "stormy"]
    for asset in (
        "project_videos",
        "videos",
        "frames",
        "frame_embeddings",
        "filtered_frames",
        "deduplicated_frames",
        "detections",
        "dataset",
    ):
        kill_when(run, re.compile(rf"\s*{asset} .*: (done|reused)"))
    last = data_miner(*run)
    assert last.returncode == 0, last.stdout
    assert result_digests(tmp_path / "stormy") == result_digests(calm)


def test_run__two_at_once_do_the_work_once(served_clips: RecordingServer, tmp_path: Path) -> None:
    urls = [f"{served_clips.address}/{name}" for name in ("carphone_pristine.mp4", "carphone_distorted.mp4")]
    config = write_yaml(tmp_path / "p.yaml", project("twice", [{"type": "urls", "urls": urls}]))
    arguments = command("run", "--config", config, "--root", tmp_path / "root")
    processes = [
        subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n---\n".join(outputs)
    for asset, keys in (("videos", 2), ("frames", 2), ("frame_embeddings", 2), ("dataset", 1)):
        done = [line for output in outputs for line in output.splitlines() if re.match(rf"\s*{asset} \S+: done", line)]
        assert len(done) == keys, (asset, done)


def test_run__nothing_found_is_one_line_and_a_failure(finished: tuple[Path, Path, str]) -> None:
    root, config, _ = finished
    sources = [{"type": "files", "paths": ["clips/bigbuckbunny.mp4"]}]
    filtering = {
        "positive": ["a rocket launch", "a submarine", "an espresso machine"],
        "negative": ["a cartoon animal"],
    }
    nothing = write_yaml(config.with_name("nothing.yaml"), project("nothing", sources, filtering=filtering))
    failed = data_miner("run", "--config", nothing, "--root", root)
    assert failed.returncode == 1
    line = failed.stdout.strip().splitlines()[-1]
    assert line.startswith("error:")
    assert "not similar enough to the prompts" in failed.stdout


def test_dagster_dev__a_backfill_over_graphql_succeeds(finished: tuple[Path, Path, str]) -> None:
    """Run a backfill with `dagster dev` on the root of `data-miner run`. Must be the last test: it recreates frames."""
    root, _, _ = finished
    rows = json.loads(data_miner("videos", "--root", root, "--project", "street", "--json").stdout)
    keys = sorted(row["key"] for row in rows if row["status"] == "EXTRACTED")[:2]
    shutil.rmtree(root / "frames" / keys[0])
    running = DagsterDev(root)
    try:
        assert running.wait_for_backfill(running.launch_backfill(["frames"], keys)) == "COMPLETED_SUCCESS"
    finally:
        running.stop()
    assert (root / "frames" / keys[0] / "frames.parquet").exists(), "the backfill did not make what was missing"
