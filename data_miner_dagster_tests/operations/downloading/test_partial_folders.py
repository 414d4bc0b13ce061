"""Test what an attempt at a download takes over from the previous attempt."""

from pathlib import Path

import pytest

from data_miner_dagster.catalog.claims import Claim
from data_miner_dagster.operations.downloading.partial_folders import begin_partial_folder, partial_folders

FIRST, SECOND = "a" * 32, "b" * 32


def begin(folder: Path, content: bytes) -> Path:
    own = begin_partial_folder(folder, Claim("video/x", FIRST))
    (own / "video.mp4.part").write_bytes(content)
    return own / "video.mp4.part"


def test_begin_partial_folder__the_first(tmp_path: Path) -> None:
    own = begin_partial_folder(tmp_path / "x", Claim("video/x", FIRST))
    assert own.name == f".partial-{FIRST[:12]}-download"
    assert begin_partial_folder(tmp_path / "x", Claim("video/x", FIRST)) == own, "another try under the same claim"
    assert partial_folders(tmp_path / "x") == [own]


@pytest.mark.parametrize("may_have_rival", [False, True])
def test_begin_partial_folder__goes_on_from_what_was_cut_off(tmp_path: Path, may_have_rival: bool) -> None:
    with begin(tmp_path, b"half").open("ab") as rival:  # its writer still has the file open
        own = begin_partial_folder(tmp_path, Claim("video/x", SECOND, may_have_rival=may_have_rival))
        rival.write(b", and what the other one writes")
    assert partial_folders(tmp_path) == [own]
    assert ((own / "video.mp4.part").read_bytes() == b"half") is may_have_rival


def test_begin_partial_folder__of_an_earlier_version_or_of_several_the_latest(tmp_path: Path) -> None:
    (tmp_path / ".partial-download").mkdir()
    (tmp_path / ".partial-download" / "old.part").touch()
    (tmp_path / ".partial-0123456789ab-copied").mkdir()
    own = begin_partial_folder(tmp_path, Claim("video/x", FIRST))
    assert [path.name for path in own.iterdir()] == ["old.part"]
    (tmp_path / f".partial-{SECOND[:12]}-download").mkdir()
    (tmp_path / f".partial-{SECOND[:12]}-download" / "new.part").touch()
    own = begin_partial_folder(tmp_path, Claim("video/x", "c" * 32, may_have_rival=True))
    assert [path.name for path in own.iterdir()] == ["new.part"]
    assert list(tmp_path.iterdir()) == [own]
