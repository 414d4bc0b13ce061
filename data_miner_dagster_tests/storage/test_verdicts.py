from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.storage.verdicts import (
    FrameVerdict,
    as_table_metadata,
    kept_by_hand,
    read_verdicts,
    verdicts_fingerprint,
    verdicts_on,
    write_verdicts,
)

KEPT = FrameVerdict("local-a/000003", 1001 / 30000, True, "Ada, L.", "2026-01-02T03:04:05Z")
DROPPED = FrameVerdict("local-b/000000", 0.0, False, "Ben", "2026-01-02T03:04:06Z")
BOTH = {("local-b", 0.0): DROPPED, ("local-a", 1001 / 30000): KEPT}


def test_read_verdicts__no_file(tmp_path: Path) -> None:
    assert read_verdicts(tmp_path / "frames.csv") == {}


def test_write_verdicts__read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "verdicts" / "frames.csv"
    write_verdicts(path, BOTH)
    assert read_verdicts(path) == BOTH
    assert path.read_text() == (
        "frame_id,pts_seconds,verdict,who,given_at\n"
        'local-a/000003,0.03336666666666667,keep,"Ada, L.",2026-01-02T03:04:05Z\n'
        "local-b/000000,0.0,drop,Ben,2026-01-02T03:04:06Z\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        "local-a/000003,1.5,maybe,Ada,2026-01-02T03:04:05Z",
        "local-a/000003,soon,keep,Ada,2026-01-02T03:04:05Z",
        "local-a/000003",
    ],
)
def test_read_verdicts__a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "frames.csv"
    path.write_text(f"frame_id,pts_seconds,verdict,who,given_at\n{line}\n")
    with pytest.raises(ConfigError, match=r"frames.csv: line 2 is no verdict"):
        read_verdicts(path)


def test_verdicts_on__only_of_the_videos_named() -> None:
    assert verdicts_on(BOTH, ["local-a", "local-c"]) == {("local-a", 1001 / 30000): True}
    assert verdicts_on(BOTH, []) == {}


def test_verdicts_fingerprint__who_and_when_change_nothing() -> None:
    said = verdicts_on(BOTH, ["local-a", "local-b"])
    assert verdicts_fingerprint(dict(reversed(said.items()))) == verdicts_fingerprint(said)
    assert verdicts_fingerprint({**said, ("local-b", 0.0): True}) != verdicts_fingerprint(said)


def test_as_table_metadata__there_and_back() -> None:
    assert as_table_metadata({}) == {}
    assert kept_by_hand({}) == frozenset()
    assert kept_by_hand(as_table_metadata(verdicts_on(BOTH, ["local-a", "local-b"]))) == {("local-a", 1001 / 30000)}
