from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import FramePlace, VerdictWord
from data_miner_dagster.storage.verdicts import (
    as_table_metadata,
    kept_by_hand,
    read_verdict_file,
    verdicts_fingerprint,
    verdicts_on,
)

BOTH = {("local-b", 0.0): False, ("local-a", 1001 / 30000): True}
HEADER = "frame_id,pts_seconds,verdict,who,given_at"


def test_read_verdict_file__no_file(tmp_path: Path) -> None:
    assert read_verdict_file(tmp_path / "frames.csv") == []


def test_read_verdict_file__exactly_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "frames.csv"
    path.write_text(f'{HEADER}\nlocal-a/000003,0.03336666666666667,keep,"Ada, L.",2026-01-02T03:04:05Z\n')
    (verdict,) = read_verdict_file(path)
    assert (verdict.word, verdict.place, verdict.who) == (
        VerdictWord.KEEP,
        FramePlace("local-a", 1001 / 30000),
        "Ada, L.",
    )
    assert verdict.given_at.isoformat() == "2026-01-02T03:04:05+00:00"
    assert read_verdict_file(path) == [verdict]  # an unchanged line gets the same id again


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("local-a/000003,1.5,maybe,Ada,2026-01-02T03:04:05Z", "the verdict is 'maybe'; use keep or drop"),
        ("local-a/000003,soon,keep,Ada,2026-01-02T03:04:05Z", "could not convert string to float: 'soon'"),
        ("local-a/000003,1.5,keep,Ada,yesterday", "Invalid isoformat string: 'yesterday'"),
        ("local-a/000003", "pts_seconds, verdict must not be empty"),
    ],
)
def test_read_verdict_file__a_line_that_is_not_one_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "frames.csv"
    path.write_text(f"{HEADER}\n{line}\n")
    with pytest.raises(ConfigError, match=rf"line 2 of .*frames.csv is not a valid verdict \({why}\)"):
        read_verdict_file(path)


def test_verdicts_on__only_of_the_videos_named() -> None:
    assert verdicts_on(BOTH, ["local-a", "local-c"]) == {("local-a", 1001 / 30000): True}
    assert verdicts_on(BOTH, []) == {}


def test_verdicts_fingerprint__who_and_when_change_nothing() -> None:
    said = verdicts_on(BOTH, ["local-a", "local-b"])
    assert verdicts_fingerprint(dict(reversed(said.items()))) == verdicts_fingerprint(said)
    assert verdicts_fingerprint({**said, ("local-b", 0.0): True}) != verdicts_fingerprint(said)


def test_as_table_metadata__there_and_back() -> None:
    assert as_table_metadata({}) == {}
    assert not kept_by_hand({}).holds("local-a", 1001 / 30000)
    kept = kept_by_hand(as_table_metadata(verdicts_on(BOTH, ["local-a", "local-b"])))
    assert kept.holds("local-a", 1001 / 30000)
    assert not kept.holds("local-b", 0.0)
