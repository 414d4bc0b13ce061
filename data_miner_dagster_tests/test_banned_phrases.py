"""Test that no file uses a phrase in `banned_phrases.BANNED`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster_tests.banned_phrases import BANNED, uses

REPOSITORY: Final = Path(__file__).parents[1]
NOT_READ: Final = (
    "CONTRIBUTING.md",  # it shows what not to write
    "data_miner_dagster/stages/verification/questions.py",  # stored answers depend on its exact words
)
"""Files and folders that are not searched."""


def test_banned_phrases__no_file_uses_one() -> None:
    not_read = {REPOSITORY / name for name in NOT_READ}
    files = [path for path in texts_of_the_repository() if not_read.isdisjoint({path, *path.parents})]
    assert len(files) > 500
    assert [use for path in sorted(files) for use in uses(path, BANNED)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# --stage x is none\n", "is none"),
        ("there is none\n", None),
        ("is None", None),
        ("a file that is\n    # no video\n", "is no video"),
        ('f"{path} is "\n    f"no folder"', "is no folder"),
        ("there is no folder; it is no longer needed", None),
        ("at most so many frames", "so many"),
        ("so many frames that memory ran out", None),
        ("see to it that it is flushed", "see to"),
        ('"""The same in a worker."""', '"""The same'),
        ("says nothing of people", "says nothing of"),
        ("frames that cannot be\nhad", "be had"),
        ("it begins anew after a kill", "anew"),
        ("\n    ConfigError: it does not exist", " ConfigError: it"),
        ("the others go\n    # together with it", "go together"),
        ("Return (N,) whether a frame is kept.", "Return (N,) whether"),
        ("its next retry (None: not before it changes)", "(None: "),
        ("the retry\n    date of a video", "retry date"),
        ("it retries; the date is known", None),
    ],
)
def test_banned_phrases__are_found(tmp_path: Path, text: str, words: str | None) -> None:
    path = tmp_path / "file.py"
    path.write_text(text)
    found = [use.split("; write: ")[0] for use in uses(path, BANNED)]
    assert found == ([] if words is None else [f"{path}:1: {words!r}"])


def texts_of_the_repository() -> Iterator[Path]:
    """Yield the files that contain docstrings, comments, messages or prose."""
    yield from (REPOSITORY / "data_miner_dagster").rglob("*.py")
    yield from (REPOSITORY / "data_miner_dagster/web/review/templates").glob("*.j2")
    yield from (REPOSITORY / "data_miner_dagster/web/review/static").glob("*.js")
    yield from (REPOSITORY / "documentation").rglob("*.py")
    yield from (REPOSITORY / "docs").rglob("*.md")
    yield from REPOSITORY.glob("*.md")
