import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.videos import wanted_videos
from data_miner_dagster.cli.doctor import partition_findings
from data_miner_dagster.deployment import existing_instance, prepare_dagster_home
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.unfinished import REBUILD_CLAIM, RebuildOf, work_folder
from data_miner_dagster.operations.releasing.unfinished_exports import export_work_folder
from data_miner_dagster.operations.upkeep.inspection import Discrepancy
from data_miner_dagster.partitions import PARTITION_TAG, PROJECTS, VIDEOS
from data_miner_dagster.storage.atomic import only_atomic_folder
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_project(tmp_path, videos=(), through="sourcing")


def test_doctor__agreement(run_command: RunCommand, platform: Platform) -> None:
    result = run_command("doctor", "--root", platform.root)
    assert result.exit_code == 0
    assert result.stdout == "catalog, files and partitions agree\n"


def test_doctor__warns_of_an_old_yt_dlp_without_finding_fault(
    run_command: RunCommand, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_miner_dagster.cli.warnings.yt_dlp_version", lambda: "2020.1.2")
    result = run_command("doctor", "--root", platform.root)
    assert result.exit_code == 0
    assert "warning: yt-dlp 2020.1.2, " in result.stderr
    as_json = json.loads(run_command("doctor", "--json", "--root", platform.root).stdout)
    assert [warning.partition(",")[0] for warning in as_json["warnings"]] == ["yt-dlp 2020.1.2"]


def test_doctor__finds_then_fixes(run_command: RunCommand, platform: Platform) -> None:
    stray = platform.layout.frames_folder("files-zzz")
    stray.mkdir(parents=True)
    found = run_command("doctor", "--root", platform.root)
    assert found.exit_code == 1
    assert "stray_files" in found.stdout
    assert "frames/files-zzz" in found.stdout
    assert stray.exists()
    fixed = run_command("doctor", "--fix", "--json", "--root", platform.root)
    assert fixed.exit_code == 0
    assert json.loads(fixed.stdout)["num_mended"] == 1
    assert not stray.exists()


def _unfinished_rebuild(platform: Platform) -> Path:
    """Return the folder that a failed rebuild of the project's release has left behind."""
    manifest = platform.layout.release_folder("cyclists", "v001") / "release.json"
    with (
        suppress(OSError),
        work_folder(platform.root, RebuildOf("cyclists", "v001", manifest.read_bytes())) as folder,
    ):
        (folder / "embeddings").mkdir()
        (folder / "embeddings" / "vectors.npz").write_bytes(bytes(3_000_000))
        (folder / "catalog.sqlite").touch()
        raise OSError(28, "No space left on device")
    assert sorted(path.name for path in folder.iterdir()) == ["embeddings", "rebuild.json"]
    return folder


def test_doctor__names_unfinished_rebuilds_and_what_continues_them(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    folder, root = _unfinished_rebuild(platform), platform.root
    release = platform.layout.release_folder("cyclists", "v001")
    for is_here, by in ((True, "--version v001"), (False, "--manifest FILE")):
        if not is_here:
            shutil.move(release, tmp_path / "elsewhere")
            (release / "note.txt").parent.mkdir()
        told = run_command("doctor", "--fix", "--root", root)
        assert told.exit_code == 0, "nothing is wrong"
        assert told.stdout.splitlines()[-1] == (
            f"note: an unfinished rebuild of cyclists v001 has left {folder} (3 MB) behind; `data-miner rebuild "
            f"cyclists {by} --to DIR --root {root}` continues it; if it is not needed, remove the folder"
        )
        assert folder.is_dir()
    (listed,) = json.loads(run_command("doctor", "--json", "--root", root).stdout)["unfinished_rebuilds"]
    assert (listed["folder"], listed["version"]) == (str(folder), "v001")
    assert 3_000_000 <= listed["size_bytes"] < 3_010_000


def test_doctor__removes_unfinished_rebuilds_that_nothing_continues(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    folder, root = _unfinished_rebuild(platform), platform.root
    platform.layout.release_inputs("cyclists", "v001").unlink()
    found = run_command("doctor", "--root", root)
    assert found.exit_code == 1
    assert "remove it (3 MB), since the release can no longer be rebuilt" in " ".join(found.stdout.split())
    assert "unfinished rebuild" not in found.stdout
    with hold_claim(platform.database, REBUILD_CLAIM, wait_seconds=0):
        assert run_command("doctor", "--fix", "--root", root).exit_code == 0
    assert folder.is_dir(), "a rebuild is running"
    assert run_command("doctor", "--fix", "--root", root).exit_code == 0
    assert not folder.exists()


def test_doctor__removes_what_killed_exports_to_buckets_leave(run_command: RunCommand, platform: Platform) -> None:
    root = platform.root
    with export_work_folder(platform, "cyclists") as folder, only_atomic_folder(folder) as writing:
        (writing / "image.jpg").write_bytes(b"written")
        assert run_command("doctor", "--fix", "--root", root).exit_code == 0
        assert (writing / "image.jpg").is_file(), "the export is running"
    assert not folder.exists()
    for left in (folder, writing):  # a killed export leaves one of these folders
        left.mkdir()
        (left / "image.jpg").write_bytes(bytes(3_000_000))
    found = run_command("doctor", "--root", root)
    assert found.exit_code == 1
    told = " ".join(found.stdout.split())
    assert told.count("remove it (3 MB), since the export of cyclists has ended") == 2
    assert {folder.name, writing.name} <= set(told.split())
    assert run_command("doctor", "--fix", "--root", root).exit_code == 0
    assert not folder.exists()
    assert not writing.exists()
    assert (root / "catalog.sqlite").is_file()


def test_partition_findings__without_dagster(platform: Platform) -> None:
    assert partition_findings(platform, fix=True) == []


def test_partition_findings__missing_and_stray_are_mended(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="sourcing")
    with existing_instance(prepare_dagster_home(platform.layout)) as instance:
        instance.add_dynamic_partitions(str(VIDEOS.name), ["files-aaa", "files-gone"])
        instance.add_dynamic_partitions(str(PROJECTS.name), ["cyclists"])
    found = [(finding.drift, finding.subject) for finding in partition_findings(platform, fix=True)]
    assert found == [
        (Discrepancy.PARTITION_MISSING, "videos: files-bbb"),
        (Discrepancy.PARTITION_MISSING, "videos: files-ccc"),
        (Discrepancy.PARTITION_MISSING, "videos: files-ddd"),
        (Discrepancy.PARTITION_STRAY, "videos: files-gone"),
    ]
    assert partition_findings(platform, fix=False) == []


def test_doctor__a_partition_in_use_is_not_counted_as_fixed(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="sourcing")
    with existing_instance(prepare_dagster_home(platform.layout)) as instance:
        instance.add_dynamic_partitions(str(PROJECTS.name), ["cyclists", "gone"])
        instance.add_dynamic_partitions(str(VIDEOS.name), [video.key for video in wanted_videos(platform.database)])
        create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags={PARTITION_TAG: "gone"})
    told = run_command("doctor", "--fix", "--root", platform.root).stdout
    assert "1 difference found, 0 fixed, 1 left" in told
