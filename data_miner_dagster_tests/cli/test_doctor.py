import json
from pathlib import Path

import pytest

from data_miner_dagster.cli.doctor import partition_findings
from data_miner_dagster.deployment import existing_instance, prepare_dagster_home
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.upkeep.inspection import Discrepancy
from data_miner_dagster.partitions import PROJECTS, VIDEOS
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
