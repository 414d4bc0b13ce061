from pathlib import Path

import pytest
from sqlalchemy import delete

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.outside_copies import record_publication
from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.standing import list_releases
from data_miner_dagster.operations.split_memory import read_manifests, released_splits
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_project(tmp_path, through="extraction")


def test_delete_videos__wanted_ones_are_refused(run_command: RunCommand, platform: Platform) -> None:
    result = run_command("delete-videos", "files-aaa", "files-eee", "--yes", "--root", platform.root)
    assert result.exit_code == 1
    assert "files-eee: removed" in result.stdout
    assert "files-aaa: kept, wanted by cyclists" in result.stderr
    assert run_command("delete-videos", "files-aaa", "--force", "--yes", "--root", platform.root).exit_code == 0
    assert not platform.layout.frames_folder("files-aaa").exists()


def test_delete_videos__out_of_one_project(run_command: RunCommand, platform: Platform) -> None:
    root = ["--root", str(platform.root)]
    told = run_command("delete-videos", "files-aaa", "--project", "cyclists", *root)
    assert (told.exit_code, told.stdout.count("files-aaa was removed from cyclists,")) == (0, 1)
    assert platform.layout.frames_folder("files-aaa").exists()
    assert run_command("delete-videos", "files-aaa", "--project", "cyclists", *root).exit_code == 1
    with pytest.raises(ConfigError, match="give only one of them"):
        run_command("delete-videos", "files-aaa", "--project", "cyclists", "--force", *root)


def test_delete_videos__a_no_changes_nothing(run_command: RunCommand, platform: Platform) -> None:
    result = run_command("delete-videos", "files-eee", "--root", platform.root, answer="n\n")
    assert result.exit_code == 1
    assert find_video(platform.database, "files-eee") is not None


def test_delete_videos__asks_only_about_videos_that_it_would_remove(
    run_command: RunCommand, platform: Platform
) -> None:
    root = ["--root", platform.root]
    kept = run_command("delete-videos", "files-aaa", *root, answer="n\n")
    assert (kept.exit_code, "Remove" in kept.output) == (1, False)
    assert "files-aaa: kept, wanted by cyclists" in kept.stderr
    assert "Remove" not in run_command("delete-videos", "files-zzz", *root, answer="n\n").output
    told = run_command("delete-videos", "files-aaa", "files-eee", "files-zzz", *root, answer="n\n").output
    assert "Remove 1 video from" in told


def test_delete_project__then_cleanup_orphans(run_command: RunCommand, platform: Platform) -> None:
    root = ["--root", str(platform.root)]
    assert "project cyclists was removed" in run_command("delete-project", "cyclists", "--yes", *root).stdout
    assert len(find_videos(platform.database)) == 5
    assert "5 videos removed" in run_command("cleanup-orphans", "--yes", *root).stdout
    assert find_videos(platform.database) == []
    assert list(platform.layout.frames.iterdir()) == []
    assert "0 videos removed" in run_command("cleanup-orphans", *root).stdout
    with pytest.raises(ConfigError, match="project 'cyclists' does not exist"):
        run_command("delete-project", "cyclists", "--yes", *root)


def test_delete_release__its_splits_and_its_version_stay_taken(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    record_publication(platform.database, "hf://datasets/me/cyclists", "cyclists", "v001")
    folder, inputs = (
        platform.layout.release_folder("cyclists", "v001"),
        platform.layout.release_inputs("cyclists", "v001"),
    )
    splits = released_splits(read_manifests(platform, "cyclists"))
    arguments = ["delete-release", "cyclists", "v001", "--root", str(platform.root)]
    assert run_command(*arguments, "--dry-run").exit_code == 0
    assert folder.is_dir()
    assert run_command(*arguments, answer="n\n").exit_code == 1
    assert folder.is_dir()
    told = run_command(*arguments, "--yes").stdout
    assert told.endswith("release cyclists v001 was removed\nits published copy stays: hf://datasets/me/cyclists\n")
    assert not folder.exists()
    assert not inputs.exists()
    (summary,) = list_releases(platform, "cyclists")
    assert summary.state.endswith(": deleted")
    assert run_command(*arguments).stdout.startswith("release cyclists v001: 0 files (0 B)\n")  # nothing to confirm
    assert release_project(platform, "cyclists").metadata["version"] == "v002"
    assert released_splits(read_manifests(platform, "cyclists")) == splits
    with platform.database.transaction() as session:
        session.execute(delete(ReleaseRow))  # as if the catalog were older than the release
    run_command("delete-release", "cyclists", "v002", "--yes", "--root", str(platform.root))
    assert release_project(platform, "cyclists").metadata["version"] == "v003"
    platform.layout.release_folder("cyclists", "notes").mkdir()  # a person's own folder
    for version in ("v009", "notes"):
        with pytest.raises(ConfigError, match=f"has no release '{version}'; run `data-miner releases cyclists`"):
            run_command("delete-release", "cyclists", version, "--root", str(platform.root))


@pytest.fixture
def shared(tmp_path: Path) -> Platform:
    """Return a platform with `cyclists`, which has a release, and `walkers`, which wants only files-aaa.

    Neither project wants files-eee.
    """
    platform = build_project(tmp_path)
    build_project(tmp_path, name="walkers", videos=(SampleVideo("files-aaa", num_frames=5),), through="filtering")
    platform.layout.release_folder("cyclists", "v001").mkdir(parents=True)
    with platform.database.transaction() as session:
        session.add(ReleaseRow(project_name="cyclists", version="v001", fingerprint="", num_images=0, num_boxes=0))
    return platform


def files_of(platform: Platform, *, project: str, video_key: str) -> list[Path]:
    layout = platform.layout
    found = [*layout.project_folder(project).rglob("*"), *layout.frames_folder(video_key).rglob("*")]
    return sorted(path for path in found if path.is_file())


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("delete-project", "cyclists"), "0 releases; its 4 videos stay (1 wanted by other projects)"),
        (("delete-release", "cyclists", "v001"), "release cyclists v001: 0 files (0 B)"),
        (
            ("delete-videos", "files-aaa", "files-eee"),
            "wanted by cyclists (1), walkers (1); without --force, videos that a project wants are kept",
        ),
        (("delete-videos", "files-aaa", "files-bbb", "--force"), "wanted by cyclists (2), walkers (1)"),
        (("delete-videos", "files-aaa", "files-eee", "--project", "walkers"), "1 of 2 videos belong to walkers"),
        (("cleanup-orphans",), "no project wants 1 video with its files, 0 B; 0 differences between"),
        (("forget", "files-aaa"), "wanted by cyclists (1), walkers (1)"),
        (("doctor", "--fix"), ""),
    ],
)
def test_dry_run__counts_and_changes_nothing(
    run_command: RunCommand, shared: Platform, command: tuple[str, ...], line: str
) -> None:
    def state() -> list[object]:
        files = {
            path: path.stat().st_mtime_ns
            for path in shared.root.rglob("*")
            if not path.relative_to(shared.root).parts[0].startswith("catalog")
        }
        members = [(row.project_name, row.video_key, row.status) for row in find_members(shared.database, "cyclists")]
        return [files, members, [row.key for row in find_videos(shared.database)]]

    before = state()
    assert line in run_command(*command, "--dry-run", "--root", shared.root).stdout
    assert state() == before


@pytest.mark.parametrize(
    "command",
    [
        ("delete-project", "cyclists", "--files", "--releases"),
        ("delete-videos", "files-aaa"),
        ("delete-videos", "files-aaa", "--project", "cyclists"),
        ("cleanup-orphans",),
    ],
)
def test_removal__another_project_keeps_what_it_uses(
    run_command: RunCommand, shared: Platform, command: tuple[str, ...]
) -> None:
    theirs = files_of(shared, project="walkers", video_key="files-aaa")
    assert len(theirs) == 7  # five frames and their table, and the project's own table
    run_command(*command, *([] if "--project" in command else ["--yes"]), "--root", shared.root)
    run_command("cleanup-orphans", "--yes", "--root", shared.root)
    assert files_of(shared, project="walkers", video_key="files-aaa") == theirs
    assert [row.status for row in find_members(shared.database, "walkers")] == [ProjectVideoStatus.FILTERED]
