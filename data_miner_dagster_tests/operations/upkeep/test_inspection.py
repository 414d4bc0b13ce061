import os
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.catalog.claims import try_claim
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.releases import add_release
from data_miner_dagster.catalog.schema import ProjectRow, ReleaseRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.domain.leftovers import held
from data_miner_dagster.domain.statuses import ProjectStage, VideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reporting.previews import Preview, save_preview
from data_miner_dagster.operations.upkeep.inspection import Discrepancy, Finding, inspect_platform, mend_platform
from data_miner_dagster.operations.upkeep.removal import remove_release
from data_miner_dagster_tests.support.sample_project import build_platform, build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_project(tmp_path, through="filtering")


def drifts(findings: list[Finding]) -> list[tuple[Discrepancy, str]]:
    return [(finding.drift, finding.subject) for finding in findings]


def status_of(platform: Platform, key: str) -> VideoStatus:
    video = find_video(platform.database, key)
    assert video is not None
    return video.status


def test_inspect_platform__empty_root(tmp_path: Path) -> None:
    assert inspect_platform(build_platform(tmp_path)) == []


def test_inspect_platform__agreement(platform: Platform) -> None:
    assert inspect_platform(platform) == []


def test_inspect_platform__lost_frames_are_made_again(platform: Platform) -> None:
    platform.layout.frames_table("files-aaa").unlink()
    findings = inspect_platform(platform)
    assert drifts(findings) == [(Discrepancy.FRAMES_MISSING, "files-aaa")]
    assert mend_platform(platform, findings) == 1
    assert status_of(platform, "files-aaa") is VideoStatus.PENDING  # its video file is missing too
    assert inspect_platform(platform) == []


def test_mend_platform__a_finding_that_cannot_be_mended_keeps_no_other(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("files-x", "files-y"):
        (platform.layout.frames / name).mkdir()
    findings = inspect_platform(platform)
    assert drifts(findings) == [
        (Discrepancy.STRAY_FILES, "frames/files-x"),
        (Discrepancy.STRAY_FILES, "frames/files-y"),
    ]

    def remove(path: Path) -> None:
        if path.name == "files-x":
            raise PermissionError(13, "Permission denied")
        path.rmdir()

    with monkeypatch.context() as patched:
        patched.setattr("data_miner_dagster.operations.upkeep.inspection.shutil.rmtree", remove)
        assert mend_platform(platform, findings) == 1
    assert drifts(inspect_platform(platform)) == [(Discrepancy.STRAY_FILES, "frames/files-x")]


def test_inspect_platform__lost_frames_of_a_video_that_is_there(platform: Platform) -> None:
    platform.layout.frames_table("files-aaa").unlink()
    platform.layout.video_info("files-aaa").parent.mkdir(parents=True)
    platform.layout.video_info("files-aaa").write_text("{}")
    assert mend_platform(platform, inspect_platform(platform)) == 1
    assert status_of(platform, "files-aaa") is VideoStatus.DOWNLOADED


def test_inspect_platform__dead_worker_but_not_a_live_one(platform: Platform) -> None:
    with platform.database.transaction() as session:
        assert move_video(session, "files-eee", VideoStatus.DOWNLOADING)
    with platform.hold_video("files-eee"):
        assert inspect_platform(platform) == []
    findings = inspect_platform(platform)
    assert drifts(findings) == [(Discrepancy.WORKER_GONE, "files-eee")]
    assert mend_platform(platform, findings) == 1
    assert status_of(platform, "files-eee") is VideoStatus.PENDING


def test_inspect_platform__a_project_whose_worker_is_gone_but_not_one_at_work(platform: Platform) -> None:
    with platform.database.transaction() as session:
        session.get_one(ProjectRow, "cyclists").stage = ProjectStage.DETECTION
    with platform.hold_project("cyclists"):
        assert inspect_platform(platform) == []
    findings = inspect_platform(platform)
    assert drifts(findings) == [(Discrepancy.WORKER_GONE, "cyclists")]
    assert findings[0].remedy == "reset it from DETECTION; a run resumes it"
    assert mend_platform(platform, findings) == 1
    project = find_project(platform.database, "cyclists")
    assert project is not None
    assert project.stage is ProjectStage.DETECTION_READY


def test_inspect_platform__strays_of_videos_go_of_projects_stay(platform: Platform) -> None:
    layout = platform.layout
    layout.frames_folder("files-zzz").mkdir()
    stray = layout.embedding_file("lite-conse", "files-zzz")
    prompt = layout.prompt_embedding_file("lite-conse", "0123")
    for path in (stray, prompt):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, vector=np.zeros(3))
    shown = [layout.video_preview(key) for key in ("files-aaa", "files-zzz")]
    shown += [layout.project_preview(project, "dataset") for project in ("cyclists", "somebody")]
    for preview in shown:
        save_preview(Preview(1, b"a sheet"), preview)
    layout.project_folder("somebody").mkdir()
    findings = inspect_platform(platform)
    assert drifts(findings) == [
        (Discrepancy.STRAY_FILES, "frames/files-zzz"),
        (Discrepancy.STRAY_FILES, "embeddings/lite-conse/files-zzz.npz"),
        (Discrepancy.STRAY_FILES, "previews/videos/files-zzz.webp"),
        (Discrepancy.STRAY_FILES, "previews/projects/somebody"),
        (Discrepancy.STRAY_PROJECT, "projects/somebody"),
    ]
    assert mend_platform(platform, findings) == 4
    assert [preview.exists() for preview in shown] == [True, False, True, False]
    assert drifts(inspect_platform(platform)) == [(Discrepancy.STRAY_PROJECT, "projects/somebody")]
    assert prompt.exists()


def test_inspect_platform__old_partials_go_young_ones_stay(platform: Platform) -> None:
    folder = platform.layout.frames_folder("files-aaa")
    old, young = folder / ".partial-old-1.jpg", platform.layout.frames / ".partial-young-files-bbb"
    old.write_bytes(b"")
    young.mkdir()
    os.utime(old, (0, 0))
    claim = try_claim(platform.database, "video/files-ccc")
    assert claim is not None
    at_work = platform.layout.frames / f".partial-{claim.token[:12]}-files-ccc"
    at_work.mkdir()
    os.utime(at_work, (0, 0))
    findings = inspect_platform(platform)
    assert drifts(findings) == [(Discrepancy.PARTIAL, "frames/files-aaa/.partial-old-1.jpg")]
    assert mend_platform(platform, findings) == 1
    assert young.exists()
    assert not old.exists()


def test_inspect_platform__partials_in_the_root_itself(platform: Platform) -> None:
    backup, copy = platform.root / ".partial-0123456789ab-backup", platform.root / ".partial-7-catalog-0002.sqlite"
    settings, living = platform.layout.dagster_home / ".partial-0-dagster.yaml", platform.root / ".partial-k2_x9abc"
    for folder in (backup, living, settings.parent):
        folder.mkdir(exist_ok=True)
    for path in (copy, settings):
        path.touch()
    for path in (backup, copy, settings, living):
        os.utime(path, (0, 0))
    with held(living):
        findings = inspect_platform(platform)
        assert drifts(findings) == [
            (Discrepancy.PARTIAL, str(path.relative_to(platform.root))) for path in (backup, copy, settings)
        ]
        assert mend_platform(platform, findings) == 3
    assert living.exists()
    assert not any(path.exists() for path in (backup, copy, settings))


def test_inspect_platform__a_download_that_can_be_continued_is_no_difference(platform: Platform) -> None:
    ended = [platform.layout.video_folder(key) / ".partial-0123456789ab-download" for key in ("files-aaa", "files-bbb")]
    for folder in ended:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder, (0, 0))
    with platform.database.transaction() as session:
        move_video(session, "files-bbb", VideoStatus.FAILED, error="the server closed the connection")
    assert drifts(inspect_platform(platform)) == [
        (Discrepancy.PARTIAL, "videos/files-aaa/.partial-0123456789ab-download")
    ]


def test_inspect_platform__missing_release_is_a_persons_business(platform: Platform) -> None:
    with platform.database.transaction() as session:
        row = ReleaseRow(project_name="cyclists", version="v1", fingerprint="f", num_images=1, num_boxes=1)
        add_release(session, row)
    findings = inspect_platform(platform)
    assert drifts(findings) == [(Discrepancy.RELEASE_MISSING, "cyclists v1")]
    assert not findings[0].is_fixable
    assert mend_platform(platform, findings) == 0
    assert findings[0].remedy == (
        "restore its folder from a backup, or, if it was deleted on purpose, "
        "run `data-miner delete-release cyclists v1`"
    )
    remove_release(platform, "cyclists", "v1")
    assert inspect_platform(platform) == []
