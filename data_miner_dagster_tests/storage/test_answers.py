"""Test the tables that people open and fill in with spreadsheet programs."""

from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.storage.answers import read_answers, write_csv


def test_write_csv__no_text_is_a_formula_and_numbers_stay(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    rows: list[list[object]] = [
        ["files-a/1", "keep", "-0.1234", '=HYPERLINK("http://a.test")', 7],
        ["files-a/2", "", "+1.5", "@SUM(A1)", -7],
        ["files-a/3", "drop", "0.5", "-1+cmd|' /C calc'!A0", None],
        ["files-a/4", "", "1", "a red = car", ""],
    ]
    write_csv(path, ["frame_id", "answer", "similarity", "prompt", "order"], rows)
    assert path.read_text().splitlines() == [
        "frame_id,answer,similarity,prompt,order",
        """files-a/1,keep,-0.1234,"'=HYPERLINK(""http://a.test"")",7""",
        "files-a/2,,+1.5,'@SUM(A1),-7",
        "files-a/3,drop,0.5,'-1+cmd|' /C calc'!A0,",
        "files-a/4,,1,a red = car,",
    ]
    assert read_answers(path) == {"files-a/1": True, "files-a/3": False}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"frame,verdict\n", r"needs the columns .* the questions\.csv that `data-miner calibrate PROJECT` writes"),
        (b"frame_id,answer\n" + b"a" * 200_000, r"is not a valid CSV file \(field larger than field limit"),
        (b"\xff\xfe", "is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_read_answers__a_file_of_another_kind(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "questions.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_answers(path)


def test_read_answers__an_answer_about_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_text("answer,frame_id\nkeep,files-a/1\n\n,\ndrop\n")
    with pytest.raises(ConfigError, match=r"the frame_id in line 5 of .*questions\.csv is missing; add it, or remove"):
        read_answers(path)
