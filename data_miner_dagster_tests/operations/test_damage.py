"""Damaged files in a root are found, and derived ones are removed. A planted root replaces a real one."""

from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.operations.damage import find_damaged_files, remove_damaged_files
from data_miner_dagster.operations.members import project_members
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.storage.tables import read_table, write_table
from data_miner_dagster_tests.support.sample_project import build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    return platform


def damage(*paths: Path) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[:-20])


def test_find_damaged_files__none_in_a_sound_root(platform: Platform) -> None:
    assert list(find_damaged_files(platform.layout)) == []


def test_remove_damaged_files__what_is_kept_stays(platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
    layout = platform.layout
    derived = [layout.frames_table("files-aaa"), layout.filtered_table("cyclists")]
    kept = layout.release_folder("cyclists", "v001") / "release.json"
    damage(*derived, kept)
    found = {damaged.path: damaged.is_derived for damaged in find_damaged_files(layout)}
    assert found == {derived[0]: True, derived[1]: True, kept: False}
    assert sorted(remove_damaged_files(layout)) == sorted(derived)
    assert [damaged.path for damaged in find_damaged_files(layout)] == [kept]
    said = sorted(record.getMessage() for record in caplog.records if "will be recreated" in record.getMessage())
    assert [line.partition(" (")[0] for line in said] == [f"{path} is damaged" for path in sorted(derived)]
    assert all(line.endswith("); the file was removed and will be recreated") for line in said)


def test_hold_project__all_that_is_damaged_is_removed_at_once(platform: Platform) -> None:
    layout = platform.layout
    paths = [
        layout.detections_table("cyclists"),
        layout.deduplicated_table("cyclists"),
        layout.frames_table("files-bbb"),
    ]
    damage(*paths)
    with pytest.raises(DamagedFileError, match=r"detections\.parquet is damaged"), platform.hold_project("cyclists"):
        read_table(paths[0])
    assert [path.exists() for path in paths] == [False, False, False]
    assert platform.num_removed_files == 3


def test_hold_video__only_its_own_files_are_looked_at(platform: Platform) -> None:
    layout = platform.layout
    own, other = layout.frames_table("files-aaa"), layout.frames_table("files-bbb")
    damage(own, other)
    with pytest.raises(DamagedFileError), platform.hold_video("files-aaa"):
        read_table(own)
    assert (own.exists(), other.exists()) == (False, True)


def test_project_members__frames_that_cannot_be_read_are_not_passed_over(platform: Platform) -> None:
    damage(platform.layout.frames_table("files-aaa"))
    with pytest.raises(DamagedFileError, match="files-aaa"):
        project_members(platform, "cyclists")


def test_remove_damaged_files__frames_with_a_column_of_another_type_not_with_fewer(
    platform: Platform,
) -> None:
    layout = platform.layout
    wrong, earlier = layout.frames_table("files-aaa"), layout.frames_table("files-bbb")
    table = read_table(wrong)
    position = table.column_names.index("width")
    write_table(wrong, table.set_column(position, "width", table["width"].cast("int64")), fingerprint="f")
    write_table(earlier, read_table(earlier).drop_columns(["text_share", "plain_share"]), fingerprint="f")
    (found,) = find_damaged_files(layout)
    assert (found.path, found.is_derived) == (wrong, True)
    assert "the column width has type int64, not int32" in found.message
    assert remove_damaged_files(layout) == [wrong]
    assert earlier.exists()
