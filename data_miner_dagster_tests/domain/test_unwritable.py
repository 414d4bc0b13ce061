import errno
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.unwritable import unwritable_behind, unwritable_line, why_unwritable, writing_to_root


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "/mined is on a read-only file system; mount it writable, or choose another root with --root"),
        (errno.EACCES, "/mined is not writable by this user (Permission denied); change its permissions, or choose"),
        (errno.EPERM, "/mined is not writable by this user (Operation not permitted); change its permissions, or"),
        (errno.ENOTDIR, "/mined cannot be created or written to (Not a directory); choose another root with --root"),
        (errno.ENOSPC, "/mined cannot be created or written to (No space left on device); free some space there, or"),
    ],
)
def test_unwritable_line__reason_and_remedy(number: int, said: str) -> None:
    assert unwritable_line(Path("/mined"), OSError(number, "")).startswith(said)


def test_unwritable_line__an_error_without_a_number() -> None:
    said = "/mined cannot be created or written to (it is gone); choose another root with --root"
    assert unwritable_line(Path("/mined"), OSError("it is gone")).startswith(said)


def test_writing_to_root__a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    root = tmp_path / "file" / "root"
    with (
        pytest.raises(ConfigError, match=r"the root .*file/root cannot be created or written to \(Not a directory\); "),
        writing_to_root(root),
    ):
        root.mkdir()


def test_why_unwritable__folders_that_can_be_written_to(tmp_path: Path) -> None:
    assert why_unwritable(tmp_path) is None
    assert why_unwritable(tmp_path / "nowhere") is None


def test_unwritable_behind__other_errors() -> None:
    assert unwritable_behind(OSError(errno.EROFS, "")) is None  # names no file
    assert unwritable_behind(PermissionError(errno.EACCES, "", "/read")) is None  # may have been opened only to read
    assert unwritable_behind(ValueError("why")) is None
