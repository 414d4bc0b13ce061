"""Deduplication of planted projects: what is kept, what stands when videos are added, what is done again."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import delete_project, find_project
from data_miner_dagster.catalog.releases import add_release
from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.catalog.splits import add_generations
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.domain.errors import ConfigError, NotReadyError, SystematicFaultError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectStage, VideoStatus
from data_miner_dagster.export.parquet import images_table
from data_miner_dagster.operations.comparisons import check_comparisons
from data_miner_dagster.operations.deduplication.check import check_deduplication
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.upkeep.removal import remove_videos
from data_miner_dagster.storage.tables import read_fingerprint, read_table, write_table
from data_miner_dagster.storage.vectors import (
    StoredRepresentatives,
    read_embeddings,
    write_embeddings,
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
from data_miner_dagster_tests.support.catalog import add_video


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    """An empty platform."""
    return PlantedPlatform(tmp_path)


def publish(platform: PlantedPlatform, *keys: str, generation: int = 1) -> None:
    """Remember that these videos were decided on for a release."""
    with platform.database.transaction() as session:
        add_generations(session, "pets", dict.fromkeys(keys, generation))


def test_deduplicate_project__not_filtered_yet(platform: PlantedPlatform) -> None:
    save(platform)
    with pytest.raises(NotReadyError, match="has no filtered_frames yet"):
        deduplicate_project(platform, "pets")


def test_deduplicate_project__unknown_project(platform: PlantedPlatform) -> None:
    with pytest.raises(ConfigError, match="no project 'nobody'"):
        deduplicate_project(platform, "nobody")


def test_deduplicate_project__nothing_kept_passes_through(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [DOG, DOG])
    assert run(platform) == {}
    outcome = deduplicate_project(platform, "pets")
    assert outcome.status is OutcomeStatus.REUSED
    assert outcome.counts["frames"] == 0


def test_deduplicate_project__tiers_and_counts(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT, CAT_ON_BUS, DOG], sharpness=[9, 8, 9, 9])
    plant(platform, "site-b", [CAT, CAT, CAT, CAT_ON_SLIDE], sharpness=[1, 2, 3, 4])
    a, b = (read_table(platform.layout.frames_table(key)).to_pylist() for key in ("site-a", "site-b"))
    plant(
        platform,
        "site-b",
        [CAT, CAT, CAT, CAT_ON_SLIDE],
        sharpness=[1, 2, 3, 4],
        sha256=[a[0]["sha256"], *(row["sha256"] for row in b[1:])],
        perceptual_hash=[0, a[0]["perceptual_hash"] ^ 0b111, 1, 2],
    )
    assert run(platform) == {
        "site-a/000000": ("site-a/000000", None),
        "site-a/000001": ("site-a/000000", "within_video"),
        "site-a/000002": ("site-a/000002", None),
        "site-b/000000": ("site-a/000000", "exact"),
        "site-b/000001": ("site-a/000000", "perceptual_hash"),
        "site-b/000002": ("site-a/000000", "across_videos"),
        "site-b/000003": ("site-b/000003", None),
    }
    outcome = deduplicate_project(platform, "pets")
    assert dict(outcome.counts) == {
        "frames": 7,
        "representatives": 3,
        "exact": 1,
        "perceptual_hash": 1,
        "within_video": 1,
        "across_videos": 1,
        "other_project": 0,
        "earlier_release": 0,
    }
    assert outcome.metadata["threshold"] == 0.9
    project = find_project(platform.database, "pets")
    assert project is not None
    assert project.stage is ProjectStage.DETECTION_READY


def test_deduplicate_project__files_and_hashes_before_embeddings(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS, CAT_ON_SLIDE], sharpness=[9, 8, 7])
    a = read_table(platform.layout.frames_table("site-a")).to_pylist()
    near = [row["perceptual_hash"] ^ 0b1111 for row in a]
    far = [row["perceptual_hash"] ^ 0b11111_0000 for row in a]
    # Of frame 0 the file; of frame 2 the hash, one bit more, and the hash with too little contrast.
    plant(
        platform,
        "site-b",
        [CAT_ON_BUS] * 4,
        sha256=[a[0]["sha256"], "1", "2", "3"],
        perceptual_hash=[1, near[2], far[2], near[2]],
        contrast=[50, 50, 50, 19],
        sharpness=[9, 9, 9, 9],
    )
    save(platform, threshold=1.0, perceptual_hash_distance=4)
    assert run(platform) == {
        "site-a/000000": ("site-a/000000", None),
        "site-a/000001": ("site-b/000001", "across_videos"),
        "site-a/000002": ("site-b/000001", "perceptual_hash"),
        "site-b/000000": ("site-a/000000", "exact"),
        "site-b/000001": ("site-b/000001", None),
        "site-b/000002": ("site-b/000001", "within_video"),
        "site-b/000003": ("site-b/000001", "within_video"),
    }
    similarity = read_table(platform.layout.deduplicated_table("pets"))["similarity"].to_pylist()
    assert similarity[2:4] == [pytest.approx(0.64, abs=1e-3), pytest.approx(0.8, abs=1e-3)]


def test_deduplicate_project__better_frames_stand_for_worse(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [NEARLY_CAT, CAT, CAT], sharpness=[99, 1, 2])
    assert run(platform) == {
        "site-a/000000": ("site-a/000002", "within_video"),  # sharper, but less like the prompt
        "site-a/000001": ("site-a/000002", "within_video"),  # as like the prompt, but less sharp
        "site-a/000002": ("site-a/000002", None),
    }
    table = read_table(platform.layout.deduplicated_table("pets"))
    assert table["quality_rank"].to_pylist() == [2, 1, 0]
    assert table["similarity"].to_pylist() == [pytest.approx(0.995, abs=1e-3), 1.0, None]


def test_deduplicate_project__same_input_same_bytes(platform: PlantedPlatform, tmp_path: Path) -> None:
    twin = PlantedPlatform(tmp_path / "twin")
    for each, keys in ((platform, ["site-a", "site-b"]), (twin, ["site-b", "site-a"])):
        save(each)
        for key in keys:
            plant(each, key, [CAT, NEARLY_CAT, CAT_ON_BUS])
        run(each)
    files = [each.layout.deduplicated_table("pets") for each in (platform, twin)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_deduplicate_project__second_run_does_nothing(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT])
    run(platform)
    path = platform.layout.deduplicated_table("pets")
    before = path.stat().st_mtime_ns
    assert deduplicate_project(platform, "pets").status is OutcomeStatus.REUSED
    assert path.stat().st_mtime_ns == before


def test_deduplicate_project__killed_between_file_and_row(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT])
    run(platform)
    with platform.database.transaction() as session:
        assert move_project(session, "pets", ProjectStage.DEDUPLICATION)
    assert deduplicate_project(platform, "pets").status is OutcomeStatus.REUSED
    project = find_project(platform.database, "pets")
    assert project is not None
    assert project.stage is ProjectStage.DETECTION_READY


def test_deduplicate_project__added_video_never_displaces_what_was_kept(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [NEARLY_CAT, CAT_ON_BUS])
    first = run(platform)
    assert {representative for representative, _ in first.values()} == {"site-a/000000", "site-a/000001"}
    publish(platform, "site-a")
    plant(platform, "site-b", [CAT, CAT_ON_SLIDE])  # CAT is better than NEARLY_CAT, but came later
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


def test_deduplicate_project__force_gives_the_same(platform: PlantedPlatform, tmp_path: Path) -> None:
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
    assert read_fingerprint(path) == fingerprint  # what was made from it stands


def test_deduplicate_project__what_was_not_published_leaves_no_mark(platform: PlantedPlatform, tmp_path: Path) -> None:
    save(platform)
    plant(platform, "site-a", [NEARLY_CAT])
    run(platform)  # and no release: interrupted, say
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
    with pytest.raises(ConfigError, match=r"deduplication\.threshold = 0\.7 was set for encoder 'axis', and 'other'"):
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
    plant(platform, "site-a", [DOG, CAT_ON_BUS], frames_fingerprint="frames-2")  # extracted again
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


def test_deduplicate_project__against_another_project(platform: PlantedPlatform) -> None:
    save(platform, "earlier")
    plant(platform, "site-a", [CAT], project="earlier")
    save(platform, against_projects=["earlier"])
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_BUS])
    with pytest.raises(ConfigError, match=r"earlier.*not been deduplicated"):
        run(platform)
    run(platform, "earlier")
    assert run(platform) == {
        "site-b/000000": ("site-a/000000", "other_project"),
        "site-b/000001": ("site-b/000001", None),
    }
    plant(platform, "site-c", [CAT, CAT_ON_SLIDE])
    assert run(platform)["site-b/000000"] == ("site-a/000000", "other_project")
    # The same video in both projects: its frames belong to the earlier one.
    add_video(platform.database, "site-a", "pets", status=VideoStatus.EXTRACTED)
    assert run(platform)["site-a/000000"] == ("site-a/000000", "other_project")


def test_deduplicate_project__projects_in_a_circle(platform: PlantedPlatform) -> None:
    save(platform, "one", against_projects=["two"])
    save(platform, "two", against_projects=["one"])
    plant(platform, "site-a", [CAT], project="one")
    filter_project(platform, "one")
    with pytest.raises(ConfigError, match="leads back"):
        deduplicate_project(platform, "one")


def test_deduplicate_project__a_video_of_another_project_that_a_fault_meets_ends_no_other_s(
    platform: PlantedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(platform, "earlier")
    plant(platform, "site-a", [CAT], project="earlier")
    plant(platform, "site-c", [CAT_ON_BUS], project="earlier")
    run(platform, "earlier")
    save(platform, against_projects=["earlier"])
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_BUS])
    with monkeypatch.context() as patched:

        def read(path: Path, columns: list[str]) -> pa.Table:
            if path.parent.name == "site-a":
                raise ZeroDivisionError("planted")
            return read_table(path, columns)

        patched.setattr("data_miner_dagster.storage.frames.read_table", read)
        assert run(platform) == {
            "site-b/000000": ("site-b/000000", None),
            "site-b/000001": ("site-c/000000", "other_project"),
        }
    assert run(platform)["site-b/000000"] == ("site-a/000000", "other_project")


def break_embeddings(platform: PlantedPlatform, key: str) -> None:
    path = platform.layout.embedding_file("axis", key)
    stored = read_embeddings(path)
    assert stored is not None
    stored.vectors[0] = np.nan
    write_embeddings(path, stored)


def test_deduplicate_project__goes_on_without_a_video_whose_embeddings_are_broken(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT])
    plant(platform, "site-b", [CAT_ON_BUS])
    filter_project(platform, "pets")
    path = platform.layout.embedding_file("axis", "site-a")
    whole = path.read_bytes()
    break_embeddings(platform, "site-a")

    outcome = deduplicate_project(platform, "pets")

    assert (outcome.counts["frames"], outcome.counts["left_out_videos"]) == (1, 1)
    assert read_table(platform.layout.deduplicated_table("pets"))["video_key"].to_pylist() == ["site-b"]
    reasons = {row.video_key: (row.status.value, row.reason) for row in find_members(platform.database, "pets")}
    assert reasons["site-b"] == ("FILTERED", None)
    assert reasons["site-a"][0] == "FAILED"
    assert str(reasons["site-a"][1]).startswith("internal_error: 1 embeddings of site-a by axis are no unit vectors")
    assert check_deduplication(platform, "pets").passed
    # a table that lacks a video is looked at again, and is the same while the video is
    assert deduplicate_project(platform, "pets").fingerprint == outcome.fingerprint
    path.write_bytes(whole)
    assert deduplicate_project(platform, "pets").counts["frames"] == 3


def test_deduplicate_project__a_broken_model_fails_the_project_and_no_video(platform: PlantedPlatform) -> None:
    save(platform)
    for key in ("site-a", "site-b", "site-c"):
        plant(platform, key, [CAT])
    filter_project(platform, "pets")
    for key in ("site-a", "site-b", "site-c"):
        break_embeddings(platform, key)
    with pytest.raises(SystematicFaultError, match=r"all 3 items met the same internal error.*no unit vectors"):
        deduplicate_project(platform, "pets")
    project = find_project(platform.database, "pets")
    assert project is not None
    assert project.stage is ProjectStage.FAILED
    assert {row.status.value for row in find_members(platform.database, "pets")} == {"FILTERED"}


def test_deduplicate_project__against_a_release(platform: PlantedPlatform) -> None:
    save(platform, "earlier")
    plant(platform, "site-a", [CAT, CAT_ON_SLIDE], project="earlier")
    save(platform, against_releases=["earlier/v1"])
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_BUS])
    filter_project(platform, "pets")
    with pytest.raises(ConfigError, match="no such release"):
        deduplicate_project(platform, "pets")
    released = read_table(platform.layout.frames_table("site-a"), ["frame_id", "video_key", "frame_index"])
    path = images_table(platform.layout.release_folder("earlier", "v1"))
    write_table(path, released.slice(0, 1), fingerprint="v1")
    assert run(platform) == {
        "site-b/000000": ("site-a/000000", "earlier_release"),
        "site-b/000001": ("site-b/000001", None),
    }


def test_deduplicate_project__clustered_search_reports_its_recall(platform: PlantedPlatform) -> None:
    save(platform, exact_up_to_frames=1, minimum_recall=0.5)
    angles = np.radians(np.linspace(0, 60, 200))
    plant(platform, "site-a", [(float(np.cos(a)), 0.0, float(np.sin(a)), 0.0) for a in angles])
    run(platform)
    metadata = deduplicate_project(platform, "pets").metadata
    assert metadata["search"] == "clustered"
    assert float(metadata["measured_recall"]) >= 0.5


def test_deduplicate_project__what_it_is_compared_with_goes(platform: PlantedPlatform) -> None:
    save(platform, "earlier")
    plant(platform, "site-a", [CAT], project="earlier")
    plant(platform, "site-c", [CAT_ON_BUS], project="earlier")
    run(platform, "earlier")
    released = read_table(platform.layout.frames_table("site-c"), ["frame_id", "video_key", "frame_index"])
    images = images_table(platform.layout.release_folder("earlier", "v001"))
    write_table(images, released, fingerprint="v001")
    with platform.database.transaction() as session:
        row = ReleaseRow(project_name="earlier", version="v001", fingerprint="f", num_images=7, num_boxes=0)
        add_release(session, row)
    save(platform, against_projects=["earlier"], against_releases=["earlier/v001"])
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_BUS])
    assert {tier for _, tier in run(platform).values()} == {"other_project"}
    remove_videos(platform, ["site-a"], force=True)
    assert run(platform)["site-b/000000"] == ("site-b/000000", None)
    assert deduplicate_project(platform, "pets").metadata["num_foreign_gone"] == 1
    delete_project(platform.database, "earlier")
    assert run(platform)["site-b/000001"] == ("site-c/000000", "earlier_release")
    shutil.rmtree(images.parent.parent)
    assert run(platform)["site-b/000001"] == ("site-b/000001", None)
    assert deduplicate_project(platform, "pets").metadata["num_foreign_gone"] == 7


def test_check_comparisons__names_that_never_were(platform: PlantedPlatform) -> None:
    save(platform, "earlier")
    release = images_table(platform.layout.release_folder("earlier", "v001")).parent.parent
    release.mkdir(parents=True)
    (release / "release.json").write_text("{}")

    def check(**deduplication: list[str]) -> None:
        save(platform, "new", **deduplication)
        config = platform.project_config("new")
        delete_project(platform.database, "new")
        check_comparisons(platform, "new", config)

    check()
    check(against_projects=["earlier"])
    with pytest.raises(ConfigError, match=r"'earlie', and there is no such project; did you mean 'earlier'\?"):
        check(against_projects=["earlie"])
    with pytest.raises(ConfigError, match=r"'earlier/v1', and there is no such release; did you mean 'earlier/v001'\?"):
        check(against_releases=["earlier/v1"])
    with pytest.raises(ConfigError, match="names itself"):
        check(against_projects=["new"])
    save(platform, "old", against_projects=["gone"], against_releases=["gone/v001"])
    check_comparisons(platform, "old", platform.project_config("old"))  # it had them before: they have gone since
