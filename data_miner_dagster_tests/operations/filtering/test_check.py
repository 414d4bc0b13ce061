"""Test counting frames and decisions. asset_checks/test_filtering.py tests how the asset check reports each fault."""

from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.domain.errors import NotReadyError
from data_miner_dagster.operations.filtering.check import DecisionCounts, check_decisions
from data_miner_dagster.operations.left_out import as_metadata
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import read_table, write_table
from data_miner_dagster_tests.support.embeddings import plant_embeddings
from data_miner_dagster_tests.support.faults import change_rows
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

VIDEOS = (SampleVideo("files-aaa", 3, dropped={1: "junk"}), SampleVideo("files-bbb", 2))


def filtered(root: Path, embedded: tuple[SampleVideo, ...] = VIDEOS) -> Platform:
    platform = build_project(root, videos=VIDEOS, through="filtering")
    for video in embedded:
        plant_embeddings(platform, video.key, np.ones((video.num_frames, 1), np.float16))
    return platform


def counts(num_frames: int, num_decisions: int, **others: int) -> DecisionCounts:
    none = dict.fromkeys(("num_undecided", "num_of_no_frame", "num_repeated", "num_without_reason"), 0)
    return DecisionCounts(num_frames=num_frames, num_decisions=num_decisions, **{**none, **others})


def test_check_decisions__not_filtered_yet(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=VIDEOS, through="extraction")
    with pytest.raises(NotReadyError, match="has no filtered_frames yet"):
        check_decisions(platform, "cyclists")


def test_check_decisions__no_frames_and_no_decisions(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=[], through="filtering")
    assert check_decisions(platform, "cyclists") == counts(0, 0)
    assert check_decisions(platform, "cyclists").holds


def test_check_decisions__of_members_that_are_ready(tmp_path: Path) -> None:
    assert check_decisions(filtered(tmp_path / "all"), "cyclists") == counts(5, 5)
    one_is_not_embedded = check_decisions(filtered(tmp_path / "one", VIDEOS[:1]), "cyclists")
    assert one_is_not_embedded == counts(3, 5, num_of_no_frame=2)
    assert not one_is_not_embedded.holds


def test_check_decisions__a_video_that_was_left_out_is_not_missing(tmp_path: Path) -> None:
    platform = filtered(tmp_path)
    path = platform.layout.filtered_table("cyclists")
    table = read_table(path)
    own = table.filter(np.array([key == "files-aaa" for key in table["video_key"].to_pylist()]))
    write_table(path, own, fingerprint="f")
    assert check_decisions(platform, "cyclists") == counts(5, 3, num_undecided=2)
    write_table(path, own, fingerprint="f", metadata=as_metadata({"files-bbb": "its frames are damaged"}))
    assert check_decisions(platform, "cyclists") == counts(3, 3)


def test_check_decisions__says_what_is_wrong(tmp_path: Path) -> None:
    platform = filtered(tmp_path)
    change_rows(platform.layout.filtered_table("cyclists"), lambda rows: rows[1].update(drop_reason=None))
    found = check_decisions(platform, "cyclists")
    assert found == counts(5, 5, num_without_reason=1)
    assert found.description == (
        "5 frames, 0 of them without a decision; 5 decisions, 0 of them without a frame, 0 repeated, "
        "1 with a missing or unexpected reason; "
        "run `data-miner backfill --asset filtered_frames --project PROJECT --force` to decide again"
    )
