"""A verifier's verdicts in a release: decided again without asking, and reported wherever boxes are counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.box_shares import shares_of
from data_miner_dagster.domain.tables import DETECTIONS_SCHEMA, VERIFIER_COLUMNS
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reporting.funnel import FunnelStep, project_funnel
from data_miner_dagster.operations.reviewing.review import open_review
from data_miner_dagster.storage.tables import read_metadata, read_table, table_from_rows, write_table
from data_miner_dagster_tests.operations.releasing.release_folders import release_folder
from data_miner_dagster_tests.support.sample_project import build_project

# Answers by frame and confidence. Two of the other boxes wait for an answer.
SAID = {
    ("files-aaa/000001", 0.9): "confirmed",
    ("files-aaa/000001", 0.2): "confirmed",  # unsure because of its confidence
    ("files-aaa/000003", 0.5): "rejected",
    ("files-bbb/000001", 0.7): "cannot_tell",
}
COUNTS = {"confirmed": 2, "rejected": 1, "cannot_tell": 1, "over_budget": 0, "waiting": 2}
ENDPOINT = {"url": "https://eyes.example/v1", "model": "sharp-eyes"}


def verified(root: Path, **releasing: Any) -> Platform:
    """Return a platform with the sample project and a verifier's answers, ready to be released."""
    platform = build_project(
        root,
        detection={"classes": {"person": [], "bicycle": ["bicycle", "bike"]}, "verifier": {"model": "eyes"}},
        releasing={"unsure": "hold", **releasing},
    )
    config = PlatformConfig.model_validate({"models": {"profile": "lite", "endpoints": {"eyes": ENDPOINT}}})
    platform, layout = Platform(config, root), platform.layout
    rows = read_table(layout.detections_table("cyclists")).to_pylist()
    for row in rows:
        if verdict := SAID.get((row["frame_id"], round(row["confidence"], 3))):
            row |= {"verifier_verdict": verdict, "verifier_reason": "because", "verifier": "eyes"}
    schema = DETECTIONS_SCHEMA
    for column in VERIFIER_COLUMNS:
        schema = schema.append(column)
    write_table(layout.detections_table("cyclists"), table_from_rows(rows, schema), fingerprint="verified")
    frames = layout.detected_frames_table("cyclists")
    told = {"data_miner.verification": json.dumps({"verifier": "eyes", "asking": "a", **COUNTS})}
    table = read_table(frames).replace_schema_metadata(None)
    write_table(frames, table, fingerprint="verified", metadata={**read_metadata(frames), **told})
    return platform


def released(platform: Platform) -> dict[str, list[tuple[str, float, str | None]]]:
    folder = release_folder(platform, _version(platform))
    boxes = read_table(folder / "data" / "boxes.parquet").to_pylist()
    images = read_table(folder / "data" / "images.parquet").to_pylist()
    found: dict[str, list[tuple[str, float, str | None]]] = {image["frame_id"]: [] for image in images}
    for box in boxes:
        found[box["frame_id"]].append((box["class_name"], box["confidence"], box["verifier_verdict"]))
    return found


def _version(platform: Platform) -> str:
    row = find_project(platform.database, "cyclists")
    assert row is not None
    assert row.released_version is not None
    return row.released_version


def test_release_project__a_verifier_clears_and_drops(tmp_path: Path) -> None:
    platform = verified(tmp_path)
    outcome = release_project(platform, "cyclists")
    frames = released(platform)
    assert frames["files-aaa/000001"] == [("bicycle", 0.9, "confirmed"), ("person", 0.2, "confirmed")]
    assert frames["files-aaa/000003"] == []
    assert frames["files-bbb/000001"] == [("person", 0.7, "cannot_tell"), ("person", 0.3, None)]
    assert (outcome.counts["waiting for review"], outcome.counts["boxes waiting for the verifier"]) == (0, 2)
    line = "eyes confirmed 2 boxes, rejected 1 and could not judge 1; 2 boxes wait for an answer"
    assert outcome.metadata["verifier"] == line
    folder = release_folder(platform, _version(platform))
    manifest = json.loads((folder / "release.json").read_text())
    assert {name: manifest["verifier"][name] for name in COUNTS} == COUNTS
    model = next(model for model in manifest["models"] if model["role"] == "verifier")
    assert (model["name"], model["source"]) == ("eyes", "endpoint:sharp-eyes")
    assert line in (folder / "datasheet.md").read_text()
    assert line in platform.layout.report_page("cyclists").read_text()
    assert project_funnel(platform, "cyclists")[FunnelStep.RELEASED_BOXES].remark.endswith(f"; {line}")
    project = find_project(platform.database, "cyclists")
    assert project is not None
    assert project.look_again_at is not None, "those that wait are asked about again"


@pytest.mark.parametrize(
    ("rules", "boxes_of_aaa_3", "num_held"),
    [({"rejected": "by_confidence"}, 1, 0), ({"rejected": "unsure"}, None, 1), ({"confirmed": "by_confidence"}, 0, 1)],
)
def test_release_project__other_rules_need_no_asking(
    tmp_path: Path, rules: dict[str, str], boxes_of_aaa_3: int | None, num_held: int
) -> None:
    platform = verified(tmp_path, verifier=rules)
    outcome = release_project(platform, "cyclists")
    frame = released(platform).get("files-aaa/000003")
    assert (None if frame is None else len(frame)) == boxes_of_aaa_3
    assert outcome.counts["waiting for review"] == num_held
    unsure = {count.queue: count.num_open for count in open_review(platform, "cyclists").queues()}[ReviewQueue.UNSURE]
    assert unsure == num_held, "people are asked about the frames that wait, and no others"


def test_release_project__a_person_goes_before_the_verifier(tmp_path: Path) -> None:
    platform = verified(tmp_path)
    share = shares_of((10.5, 8.25, 30.0, 47.0), (64, 48))
    assert share is not None
    right = Verdict(
        answer_id="answer-1",
        word=VerdictWord.RIGHT,
        place=FramePlace("files-aaa", 3.0),
        frame_id="files-aaa/000003",
        queue=ReviewQueue.BROWSING,
        who="ann",
        given_at=utc_now(),
        shown=ShownBox("person", share),
    )
    add_verdicts(platform.database, "cyclists", [right])
    release_project(platform, "cyclists")
    assert released(platform)["files-aaa/000003"] == [("person", 0.5, "rejected")]
