"""Run clips of all kinds as one project, with the commands a user types: nothing may be lost or wrong.

`benchmarks.real_size` checks that `data-miner up` gives the same results for them, and `kills/` does so for others.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.end_to_end.commands import data_miner
from data_miner_dagster_tests.real_size import checking
from data_miner_dagster_tests.real_size.bad_kinds import BAD_KINDS
from data_miner_dagster_tests.real_size.collection import Clip, Place, make_collection
from data_miner_dagster_tests.real_size.kinds import SPECIAL_KINDS
from data_miner_dagster_tests.real_size.project import RULES, absolute, project_content, serving, write_project
from data_miner_dagster_tests.sites.hostile_server import HostileServer

pytestmark = [pytest.mark.slow(95), pytest.mark.models, pytest.mark.timeout(2400)]

NUM_CLIPS, ONE_BAD_IN = 5 * len(BAD_KINDS), 5
"""Enough for all bad kinds, all special good kinds, and some combined kinds."""
NAME = "all-kinds"
NO_UTF8 = os.fsdecode(b"caf\xe9.mp4")
"""A name that no table can store, so the file is left out and reported."""


@dataclass(frozen=True)
class Collection:
    """The clips, and the server from which some of them are fetched."""

    folder: Path
    clips: Sequence[Clip]
    server: HostileServer


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    try:
        fetch_profile("lite")
        samples = fetch_samples()
    except ModelError as error:
        pytest.skip(f"the lite models and sample clips cannot be fetched: {error}")
    folder = tmp_path_factory.mktemp("collection")
    clips = make_collection(folder, NUM_CLIPS, [path for _, path in sorted(samples.items())], one_bad_in=ONE_BAD_IN)
    with serving(clips) as server:
        found = next(clip.path for clip in clips if clip.place is Place.FOLDER)
        os.link(found, found.with_name(NO_UTF8))
        yield Collection(folder, clips, server)


@pytest.fixture(scope="module")
def root(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root in which `data-miner run` has made a release from all clips."""
    root = tmp_path_factory.mktemp("run") / "root"
    content = project_content(NAME, collection.clips, collection.folder, collection.server)
    config = write_project(root.parent / f"{NAME}.yaml", absolute(content, collection.folder))
    done = data_miner("run", "--config", config, "--root", root, timeout=1200)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Traceback" not in done.stdout
    assert "name not UTF-8: caf\\xe9.mp4 (1)" in done.stdout
    return root


@pytest.fixture(scope="module")
def rows(collection: Collection, root: Path) -> dict[int, checking.Row]:
    """Return the row of `data-miner videos` for each clip, by the clip's number."""
    shown = data_miner("videos", "--project", NAME, "--json", "--root", root)
    assert shown.returncode == 0, shown.stdout
    return checking.rows_of_clips(collection.clips, collection.server, json.loads(shown.stdout))


@pytest.fixture(scope="module")
def project(root: Path) -> checking.StoredProject:
    platform = Platform(PlatformConfig.model_validate({"models": {"profile": "lite"}}), root)
    return checking.StoredProject(platform, NAME)


def test_collection__has_every_kind_and_half_is_served(collection: Collection) -> None:
    kinds = {clip.kind for clip in collection.clips}
    assert kinds >= {good.name for good in SPECIAL_KINDS} | {bad.name for bad in BAD_KINDS}
    assert sum(not clip.is_good for clip in collection.clips) == len(BAD_KINDS)
    assert NUM_CLIPS * 0.4 < sum(clip.place.is_served for clip in collection.clips) < NUM_CLIPS * 0.6


def test_run__every_good_clip_is_taken_and_every_bad_one_has_its_reason(
    collection: Collection, rows: dict[int, checking.Row]
) -> None:
    assert list(checking.check_outcomes(collection.clips, rows)) == []


def test_run__frames_are_those_on_screen(collection: Collection, root: Path, rows: dict[int, checking.Row]) -> None:
    platform = Platform(PlatformConfig.model_validate({"models": {"profile": "lite"}}), root)
    taken = [clip for clip in collection.clips if clip.is_good and rows[clip.number]["status"] == "EXTRACTED"]
    problems = [line for clip in taken for line in checking.check_frames(platform, clip, rows[clip.number]["key"])]
    assert problems == []


def test_run__every_frame_is_embedded(project: checking.StoredProject) -> None:
    assert list(checking.check_similarities(project)) == []


def test_run__decisions_are_the_oracle_s(project: checking.StoredProject) -> None:
    assert list(checking.check_filtering(project, project.facts(), RULES)) == []
    reasons = {row["drop_reason"] for row in project.table("filtered")}
    assert reasons >= {None, "below_positive", "beaten_by_negative", "junk", "too_close_in_time"}


def test_run__duplicate_groups_are_the_oracle_s(project: checking.StoredProject) -> None:
    vectors = project.vectors(project.platform.models.dedup_encoder.name)
    assert list(checking.check_deduplication(project, project.facts(), RULES, vectors)) == []
    assert {row["tier"] for row in project.table("deduplicated")} >= {None, "within_video", "across_videos"}


def test_run__images_and_splits_are_the_oracle_s(project: checking.StoredProject) -> None:
    folder = project.platform.layout.release_folder(project.name, "v001")
    assert list(checking.check_release(project, folder)) == []
    manifest = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    assert min(manifest["images_by_split"].values()) > 0
    assert manifest["num_boxes"] > 0
