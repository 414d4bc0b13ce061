import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_miner_dagster.cli.main import app
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.export.formats import EXPORT_FORMATS
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.sample_project import build_project


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATA_MINER_ROOT", "DATA_MINER_CONFIG", "DATA_MINER_PROFILE"):
        monkeypatch.setenv(name, "")  # so that what a command sets is undone after the test
        monkeypatch.delenv(name)
    root = tmp_path / "root"
    release_project(build_project(root), "cyclists")
    return root


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_export__one_format(root: Path, tmp_path: Path) -> None:
    told = _run("export", "cyclists", "--format", "yolo", "--to", tmp_path / "out", "--root", root)
    assert "cyclists v001: 7 images, 5 boxes" in told
    assert (tmp_path / "out" / "data.yaml").is_file()
    assert f"next: read {tmp_path / 'out' / 'datasheet.md'}, then train on the export" in told


def test_export__for_a_tool_says_how_the_labels_come_back(root: Path, tmp_path: Path) -> None:
    told = _run("export", "cyclists", "--format", "cvat", "--to", tmp_path / "out", "--root", root)
    assert told.splitlines()[-1] == (
        "next: correct the labels in cvat, then run `data-miner review import cyclists FILE --from cvat --version v001 "
        f"--root {root}` to import them as verdicts"
    )


def test_export__unknown_format(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=f"format 'kitti' is not supported; use one of all, {', '.join(EXPORT_FORMATS)}$"
    ):
        _run("export", "cyclists", "--format", "kitti", "--to", tmp_path / "out", "--root", root)


def test_rebuild__a_full_folder_is_refused_before_any_file_is_examined(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists and is not an empty folder"):
        _run("rebuild", "cyclists", "--version", "v9", "--to", tmp_path, "--root", root)


def test_releases__listed_and_checked(root: Path) -> None:
    platform = build_project(root, releasing={"confidence_threshold": 0.65})
    release_project(platform, "cyclists")
    listed = json.loads(_run("releases", "cyclists", "--json", "--check", "--root", root))
    assert [(release["version"], release["images"], release["boxes"]) for release in listed] == [
        ("v001", 7, 5),
        ("v002", 7, 2),
    ]
    assert listed[1]["changes"] == "against v001: +0 −0 images, 3 relabelled, -3 boxes"
    assert "whole" in _run("releases", "cyclists", "--root", root)
    (platform.layout.release_folder("cyclists", "v001") / "data.yaml").unlink()
    with pytest.raises(DataMinerError, match="release v001 of project 'cyclists' is damaged; restore it from a backup"):
        _run("releases", "cyclists", "--check", "--root", root)


def test_releases__unknown_project(root: Path) -> None:
    with pytest.raises(ConfigError, match="project 'nothing' does not exist"):
        _run("releases", "nothing", "--root", root)


def test_trace__for_people_and_for_machines(root: Path) -> None:
    told = _run("trace", "files-bbb/000001", "--root", root)
    assert "image 3 of cyclists v001: images/" in told
    assert "files-bbb" in told
    assert "person" in told
    whole = _run("trace", "files-aaa/000001", "--root", root)
    assert "files-aaa/000002 (near-duplicate" in whole
    assert "files-bbb/000000 (near-duplicate in another video" in whole
    content = json.loads(_run("trace", "files-bbb/000001", "--json", "--root", root))
    assert content["image"]["frame_id"] == "files-bbb/000001"
    assert [box["class_name"] for box in content["image"]["boxes"]] == ["person", "person"]


def test_diff__what_changed_between_two_releases(root: Path) -> None:
    platform = build_project(root, releasing={"confidence_threshold": 0.65})
    release_project(platform, "cyclists")
    told = _run("diff", "cyclists", "v001", "v002", "--root", root)
    assert "cyclists v002 against v001: +0 −0 images, 3 relabelled, -3 boxes; 7 images are in both" in told
    assert "setting: config.releasing.confidence_threshold: 0.3 → 0.65" in told
    back = json.loads(_run("diff", "cyclists", "v002", "v001", "--json", "--root", root))
    assert (back["num_images_relabelled"], back["boxes_by_class"]["person"]) == (3, [1, 3])
    with pytest.raises(ConfigError, match="has no release 'v003' on disk; use one of v001, v002"):
        _run("diff", "cyclists", "v001", "v003", "--root", root)


def test_select__shows_writes_a_list_and_says_what_to_put_where(root: Path, tmp_path: Path) -> None:
    told = _run("select", "cyclists", "--count", "2", "--max-per-video", "1", "--to", tmp_path / "ids", "--root", root)
    assert "cyclists: 2 of 7 images, from 2 videos, at most 1 from one video" in told
    assert "  select: {count: 2, max_per_video: 1}" in told
    assert len((tmp_path / "ids").read_text().splitlines()) == 2
    assert "fewer images than --count" not in told
    told = _run("select", "cyclists", "--count", "4", "--max-per-channel", "3", "--root", root)
    assert "fewer images than --count were chosen, because the limits per video and channel allow no more" in told
    content = json.loads(_run("select", "cyclists", "--count", "7", "--json", "--root", root))
    assert (len(content["frame_ids"]), content["is_written"]) == (7, False)


def test_releases__a_damaged_manifest_is_told_with_its_remedy_after_the_list(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    (platform.layout.release_folder("cyclists", "v001") / "release.json").write_text("{")
    with pytest.raises(DataMinerError, match=r"release\.json is damaged .* move it elsewhere"):
        _run("releases", "cyclists", "--root", tmp_path)
