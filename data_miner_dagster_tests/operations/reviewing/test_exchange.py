"""Verdicts are exported to a file and imported again."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.verdicts import add_verdicts, all_verdicts, undo_verdict
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.exchange import ImportOutcome, export_verdicts, import_verdicts
from data_miner_dagster_tests.support.sample_project import build_platform, build_project, project_config
from data_miner_dagster_tests.support.verdicts import NOON

SHIFTED = Verdict(
    answer_id="a1",
    word=VerdictWord.SHIFTED,
    place=FramePlace("files-aaa", 1.0),
    frame_id="files-aaa/000001",
    queue=ReviewQueue.UNSURE,
    who="=Ada, of Ækia",  # a spreadsheet would treat this as a formula
    given_at=NOON,
    shown=ShownBox("person", (1 / 64, 1 / 48, 9 / 64, 9 / 48), "lite", "r1", 0.2),
    new_box=(0.1, 0.2, 1 / 3, 1.0),
)
OTHER_CLASS = replace(
    SHIFTED,
    answer_id="a2",
    word=VerdictWord.OTHER_CLASS,
    new_box=None,
    new_class_name="bicycle",
    given_at=NOON + timedelta(microseconds=1),
    replaces="a1",
)
PAIR = Verdict(
    "a3",
    VerdictWord.NOT_DUPLICATE,
    FramePlace("files-bbb", 0.0),
    "files-bbb/000000",
    ReviewQueue.DUPLICATES,
    "Ben",
    NOON + timedelta(hours=1),
    other_place=FramePlace("files-aaa", 1.0),
    other_frame_id="files-aaa/000001",
)
GONE = Verdict(
    "a4",
    VerdictWord.DROP,
    FramePlace("files-zzz", 1001 / 30000),
    "files-zzz/000001",
    ReviewQueue.FILTER,
    "Ben",
    NOON + timedelta(hours=2),
)


def other_root(tmp_path: Path) -> Platform:
    """Return a platform on another root, which has the project's settings and nothing else."""
    platform = build_platform(tmp_path / "other")
    config = project_config()
    save_snapshot(platform.database, "cyclists", config.model_dump(mode="json"), "hash", None)
    return platform


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_export_verdicts__import_restores_them_exactly_and_once(tmp_path: Path, suffix: str) -> None:
    platform = build_project(tmp_path / "root")
    add_verdicts(platform.database, "cyclists", [SHIFTED, OTHER_CLASS, PAIR, GONE])
    undo_verdict(platform.database, "cyclists", "a3", who="Ada")
    file = tmp_path / f"verdicts.{suffix}"
    assert export_verdicts(platform, "cyclists", file) == 4
    assert export_verdicts(platform, "cyclists", tmp_path / f"again.{suffix}") == 4
    assert file.read_bytes() == (tmp_path / f"again.{suffix}").read_bytes()

    other = other_root(tmp_path)
    outcome = import_verdicts(other, "cyclists", file, who="Eve")
    assert (outcome.num_lines, outcome.num_new, outcome.num_undone) == (4, 4, 1)
    stored = list(all_verdicts(other.database, "cyclists"))
    assert [one.verdict for one in stored] == [SHIFTED, OTHER_CLASS, PAIR, GONE]
    assert [one.undone_by for one in stored] == [None, None, "Ada", None]
    again = import_verdicts(other, "cyclists", file, who="Eve")
    assert (again.num_lines, again.num_new, again.num_undone) == (4, 0, 0)
    assert list(all_verdicts(other.database, "cyclists")) == stored


def test_import_verdicts__what_concerns_nothing_is_stored_and_listed(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    add_verdicts(platform.database, "cyclists", [OTHER_CLASS, GONE])
    file = tmp_path / "verdicts.csv"
    export_verdicts(platform, "cyclists", file)
    outcome = import_verdicts(build_project(tmp_path / "other"), "cyclists", file, who="Eve")
    assert [(one.verdict, one.reason.name) for one in outcome.unmet] == [(GONE, "NO_VIDEO")]


def test_import_verdicts__keep_or_drop_answers(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    file = tmp_path / "answers.csv"
    file.write_text("frame_id,answer\nfiles-aaa/000001,drop\nfiles-zzz/000001,keep\nfiles-bbb/000001,\n")
    assert import_verdicts(platform, "cyclists", file, who="Eve") == ImportOutcome(
        2, 1, unknown_frames=("files-zzz/000001",)
    )
    (stored,) = all_verdicts(platform.database, "cyclists")
    assert (stored.verdict.word, stored.verdict.who) == (VerdictWord.DROP, "Eve")
    assert stored.verdict.place == FramePlace("files-aaa", 1.0)
    assert import_verdicts(platform, "cyclists", file, who="Eve").num_new == 0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("word", "perhaps", "line 3 of .* is not a valid verdict \\(word is 'perhaps'; use one of right, wrong"),
        ("queue", "mine", "line 3 .*queue is 'mine'; use one of "),
        ("pts_seconds", "soon", "line 3 .*pts_seconds is 'soon', which is not a number"),
        ("given_at", "yesterday", "line 3 .*given_at is 'yesterday'; use a time such as"),
        ("frame_id", "files-aaa/first", "line 3 .*frame_id 'files-aaa/first' is not a frame of files-aaa"),
        ("pts_seconds", "", "line 3 of .* is not a valid verdict \\(pts_seconds must not be empty\\)"),
        ("given_at", "2026-01-02T12:00:00", "line 3 .*given_at 2026-01-02T12:00:00 has no time zone"),
        ("x_max", "", "line 3 .*the box has only 3 of 4 coordinates"),
        ("x_max", "1.5", "line 3 .*not four shares from 0 to 1"),
        ("class_name", "", "line 3 .*the box and class_name must be given together"),
        ("frame_id", "files-bbb/000001", "line 3 .*'files-bbb/000001' is not a frame of files-aaa"),
        ("other_video_key", "files-aaa", "line 3 .*other_frame_id is missing"),
        ("pts_seconds", "-1", "line 3 .*pts_seconds is -1.0, but a time must be at least 0 seconds"),
        ("video_key", "../secret", "line 3 .*video key '../secret'"),
        ("confidence", "nan", "line 3 .*confidence is nan"),
    ],
)
def test_import_verdicts__a_wrong_line_is_named_and_nothing_is_stored(
    tmp_path: Path, column: str, value: str, message: str
) -> None:
    platform = other_root(tmp_path)
    file = tmp_path / "verdicts.csv"
    add_verdicts(platform.database, "cyclists", [SHIFTED, OTHER_CLASS])
    export_verdicts(platform, "cyclists", file)
    lines = [line.split(",") for line in file.read_text().replace("=Ada, of Ækia", "Ada").replace('"', "").splitlines()]
    lines[2][lines[0].index(column)] = value
    file.write_text("\n".join(",".join(line) for line in lines))
    fresh = build_platform(tmp_path / "fresh")
    save_snapshot(fresh.database, "cyclists", project_config().model_dump(mode="json"), "hash", None)
    with pytest.raises(ConfigError, match=message) as caught:
        import_verdicts(fresh, "cyclists", file, who="Eve")
    assert "\n" not in str(caught.value)
    assert list(all_verdicts(fresh.database, "cyclists")) == []


def test_import_verdicts__files_that_are_none(tmp_path: Path) -> None:
    platform = other_root(tmp_path)
    (tmp_path / "columns.csv").write_text("answer_id,word\na,keep\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00a,b\n")
    (tmp_path / "long.csv").write_text("a" * 200_000)
    for name, message in (
        ("absent.csv", "absent.csv does not exist"),
        ("absent.parquet", "absent.parquet does not exist"),
        ("columns.csv", "lacks the columns frame_id, given_at, pts_seconds, queue, video_key; add them"),
        ("broken.parquet", "cannot be read as Parquet"),
        ("binary.csv", "is not UTF-8 text"),
        ("long.csv", "is not a valid CSV file"),
    ):
        with pytest.raises(ConfigError, match=message):
            import_verdicts(platform, "cyclists", tmp_path / name, who="Eve")
    with pytest.raises(ConfigError, match=r"does not end with \.csv or \.parquet"):
        export_verdicts(platform, "cyclists", tmp_path / "verdicts.txt")
