"""Test which earlier decisions remain in force when videos, settings or files change."""

from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.splits import add_generations
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.storage.tables import read_fingerprint, read_table
from data_miner_dagster.storage.vectors import (
    StoredRepresentatives,
    write_representatives,
)
from data_miner_dagster_tests.support.axis_duplicates import (
    CAT,
    CAT_ON_BUS,
    CAT_ON_SLIDE,
    DOG,
    NEARLY_CAT,
    plant,
    run,
    save,
)
from data_miner_dagster_tests.support.axis_project import PlantedPlatform


def publish(platform: PlantedPlatform, *keys: str, generation: int = 1) -> None:
    """Record that these videos were part of a release."""
    with platform.database.transaction() as session:
        add_generations(session, "pets", dict.fromkeys(keys, generation))


def test_deduplicate_project__added_video_never_displaces_what_was_kept(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [NEARLY_CAT, CAT_ON_BUS])
    first = run(platform)
    assert {representative for representative, _ in first.values()} == {"site-a/000000", "site-a/000001"}
    publish(platform, "site-a")
    plant(platform, "site-b", [CAT, CAT_ON_SLIDE])  # CAT is better than NEARLY_CAT but was added later
    second = run(platform)
    assert {key: second[key] for key in first} == first
    assert second["site-b/000000"] == ("site-a/000000", "across_videos")
    assert second["site-b/000001"] == ("site-b/000001", None)
    table = read_table(platform.layout.deduplicated_table("pets"))
    assert table["generation"].to_pylist() == [0, 0, 1, 1]
    assert sorted(table["quality_rank"].to_pylist()) == [0, 1, 2, 3]
    outcome = deduplicate_project(platform, "pets")
    assert (outcome.metadata["generation"], outcome.metadata["num_newcomers"]) == (1, 2)


def test_deduplicate_project__added_video_reads_nothing_of_the_earlier_ones(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS])
    run(platform)
    publish(platform, "site-a")
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_SLIDE])
    filter_project(platform, "pets")
    platform.layout.embedding_file("axis", "site-a").unlink()
    assert deduplicate_project(platform, "pets").counts["representatives"] == 3


@pytest.mark.parametrize("damage", ["gone", "of another table"])
def test_deduplicate_project__added_video_without_the_stored_representatives(
    platform: PlantedPlatform, damage: str
) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS])
    run(platform)
    publish(platform, "site-a")
    path = platform.layout.representatives_file("pets")
    if damage == "gone":
        path.unlink()
    else:
        vectors = np.zeros((2, 4), np.float16)
        write_representatives(path, StoredRepresentatives(np.array(["a", "b"]), vectors, "another"))
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_SLIDE])
    assert run(platform)["site-b/000000"] == ("site-a/000000", "across_videos")


def test_deduplicate_project__force_gives_the_same(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [NEARLY_CAT])
    run(platform)
    publish(platform, "site-a")
    plant(platform, "site-b", [CAT])
    assert run(platform)["site-a/000000"] == ("site-a/000000", None)
    path = platform.layout.deduplicated_table("pets")
    incremental, fingerprint = read_table(path), read_fingerprint(path)
    run(platform, force=True)
    assert read_table(path).equals(incremental)
    assert read_fingerprint(path) == fingerprint  # results made from the table are not stale


def test_deduplicate_project__what_was_not_published_leaves_no_mark(platform: PlantedPlatform, tmp_path: Path) -> None:
    save(platform)
    plant(platform, "site-a", [NEARLY_CAT])
    run(platform)  # no release follows, for example because the run was interrupted
    plant(platform, "site-b", [CAT])
    assert run(platform)["site-a/000000"] == ("site-b/000000", "across_videos")
    at_once = PlantedPlatform(tmp_path / "at_once")
    save(at_once)
    plant(at_once, "site-a", [NEARLY_CAT])
    plant(at_once, "site-b", [CAT])
    run(at_once)
    paths = [each.layout.deduplicated_table("pets") for each in (platform, at_once)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_deduplicate_project__back_to_earlier_settings(platform: PlantedPlatform) -> None:
    path = platform.layout.deduplicated_table("pets")
    save(platform)
    plant(platform, "site-a", [NEARLY_CAT])
    run(platform)
    publish(platform, "site-a")
    plant(platform, "site-b", [CAT, CAT_ON_BUS])
    run(platform)
    before, fingerprint = read_table(path), read_fingerprint(path)
    publish(platform, "site-b", generation=2)
    save(platform, threshold=0.7)
    assert run(platform) == {
        "site-a/000000": ("site-a/000000", None),
        "site-b/000000": ("site-a/000000", "across_videos"),
        "site-b/000001": ("site-a/000000", "across_videos"),
    }
    save(platform)
    run(platform)
    assert (read_table(path), read_fingerprint(path)) == (before, fingerprint)


def test_deduplicate_project__a_number_of_another_encoder_is_refused(platform: PlantedPlatform) -> None:
    save(platform, threshold=0.7)
    plant(platform, "site-a", [CAT, CAT_ON_BUS])
    run(platform)
    platform.encoder.name, platform.encoder.fingerprint = "other", "other-1"
    plant(platform, "site-a", [CAT, CAT_ON_BUS])
    filter_project(platform, "pets")
    with pytest.raises(ConfigError, match=r"deduplication\.threshold = 0\.7 was set for encoder 'axis', but 'other'"):
        deduplicate_project(platform, "pets")
    row = find_project(platform.database, "pets")
    assert row is not None
    assert row.stage is ProjectStage.FAILED
    save(platform, threshold={"axis": 0.7})
    filter_project(platform, "pets")
    with pytest.raises(ConfigError, match=r"deduplication\.threshold is given for axis but not for 'other'"):
        deduplicate_project(platform, "pets")
    save(platform, threshold={"axis": 0.7, "other": 0.9})
    assert run(platform)["site-a/000001"] == ("site-a/000001", None)


def test_deduplicate_project__naming_the_encoder_of_a_number_decides_nothing_anew(platform: PlantedPlatform) -> None:
    save(platform, threshold=0.7)
    plant(platform, "site-a", [CAT, CAT_ON_BUS])
    run(platform)
    save(platform, threshold={"axis": 0.7, "other": 0.9})
    assert deduplicate_project(platform, "pets").status is OutcomeStatus.REUSED


def test_deduplicate_project__frames_whose_representative_is_gone_are_decided_again(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS])
    plant(platform, "site-b", [NEARLY_CAT, NEARLY_CAT], sharpness=[1, 2])
    plant(platform, "site-c", [CAT_ON_BUS], sharpness=[1])
    first = run(platform)
    assert first["site-b/000001"] == ("site-a/000000", "across_videos")
    plant(platform, "site-a", [DOG, CAT_ON_BUS], frames_fingerprint="frames-2")  # the frames were extracted again
    assert run(platform) == {
        "site-a/000001": ("site-a/000001", None),
        "site-b/000000": ("site-b/000001", "within_video"),
        "site-b/000001": ("site-b/000001", None),
        "site-c/000000": ("site-a/000001", "across_videos"),
    }


def test_deduplicate_project__new_video_without_kept_frames_changes_no_row(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT])
    run(platform)
    before = read_table(platform.layout.deduplicated_table("pets"))
    plant(platform, "site-b", [DOG])
    run(platform)
    assert read_table(platform.layout.deduplicated_table("pets")).equals(before)
