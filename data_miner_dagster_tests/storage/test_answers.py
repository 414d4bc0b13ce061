"""Tables for spreadsheets."""

from pathlib import Path

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
