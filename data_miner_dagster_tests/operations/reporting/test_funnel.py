import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.reporting.funnel import FunnelStep, project_funnel
from data_miner_dagster.storage.tables import open_table, read_table
from data_miner_dagster_tests.support.sample_project import build_platform, build_project


def test_project_funnel__unknown_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="project 'nothing' does not exist"):
        project_funnel(build_platform(tmp_path), "nothing")


def test_project_funnel__no_candidates(tmp_path: Path) -> None:
    funnel = project_funnel(build_project(tmp_path, videos=(), through="sourcing"), "cyclists")
    assert funnel[FunnelStep.CANDIDATES].count == 0
    assert funnel[FunnelStep.FRAMES].count is None
    assert funnel.as_counts() == {"candidates": 0, "videos": 0, "extracted": 0}


def test_project_funnel__absent_is_not_zero(tmp_path: Path) -> None:
    funnel = project_funnel(build_project(tmp_path, through="extraction"), "cyclists")
    assert [row[:2] for row in funnel.as_rows()] == [
        ("candidates found", "5"),
        ("videos accepted", "4"),
        ("videos extracted", "3"),
        ("frames sampled", "12"),
        ("frames kept", "–"),
        ("unique frames", "–"),
        ("frames searched", "–"),
        ("boxes found", "–"),
        ("boxes at threshold", "–"),
        ("frames settled", "–"),
        ("images released", "–"),
        ("boxes released", "–"),
    ]


def test_project_funnel__goes_on_without_frames_that_a_fault_keeps_from_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_or_raise(path: Path) -> pq.ParquetFile:
        if path.parent.name == "files-aaa":
            raise ZeroDivisionError("planted")
        return open_table(path)

    platform = build_project(tmp_path)
    num_frames = read_table(platform.layout.frames_table("files-aaa")).num_rows
    monkeypatch.setattr("data_miner_dagster.storage.frames.open_table", open_or_raise)
    assert project_funnel(platform, "cyclists")[FunnelStep.FRAMES].count == 12 - num_frames


def test_project_funnel__counts_every_reason(tmp_path: Path) -> None:
    funnel = project_funnel(build_project(tmp_path), "cyclists")
    assert funnel.as_counts() == {
        "candidates": 5,
        "videos": 4,
        "videos/lost/duration": 1,
        "extracted": 3,
        "extracted/lost/failed: undecodable": 1,
        "frames": 12,
        "frames/black": 1,
        "filtered": 9,
        "filtered/lost/black": 1,
        "filtered/lost/below_positive": 1,
        "filtered/lost/junk": 1,
        "unique": 7,
        "unique/lost/duplicate within_video": 1,
        "unique/lost/duplicate across_videos": 1,
        "detected": 7,
        "detected/with boxes": 4,
        "detected/without": 3,
        "boxes": 6,
        "boxes/person": 4,
        "boxes/bicycle": 2,
        "boxes_releasable": 5,
        "boxes_releasable/lost/unsure": 1,
        "boxes_releasable/person": 3,
        "boxes_releasable/bicycle": 2,
    }
    assert json.loads(json.dumps(funnel.as_json()))["steps"][0] == {
        "step": "candidates",
        "label": "candidates found",
        "count": 5,
        "lost": {},
        "kinds": {},
    }
    assert (
        "9 frames kept (without 1 black, 1 not similar enough to the prompts, 1 junk) → 7 unique frames"
        in funnel.as_line()
    )
    assert "| boxes at threshold | 5 | without 1 unsure; 3 person, 2 bicycle |" in funnel.as_markdown()
