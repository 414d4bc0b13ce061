"""Keep-or-drop answers in CSV files, which people edit in spreadsheets and which are therefore validated when read."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.storage.atomic import atomic_path

_ANSWERS: Final = {"keep": True, "drop": False}
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that start a formula, including full-width forms that East Asian spreadsheets accept.

Source: OWASP, CSV Injection."""


def answer_word(answers: Mapping[str, bool], frame_id: str) -> str:
    """Return the answer for a frame as "keep" or "drop", or "" if the frame has no answer."""
    return {None: "", True: "keep", False: "drop"}[answers.get(frame_id)]


def read_answers(path: Path) -> dict[str, bool]:
    """Return the answers in a file by frame id: True for keep, False for drop.

    Empty answers are ignored, and the last answer for a frame counts.

    Raises:
        ConfigError: the file is missing, is a folder, cannot be read, is not CSV in UTF-8, lacks a column, or contains
            an answer that is invalid or names no frame.
    """
    answers: dict[str, bool] = {}
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            if not {"frame_id", "answer"} <= set(columns):
                has = ", ".join(columns) or "no columns"
                raise ConfigError(
                    f"{path} needs the columns frame_id and answer, but it has {has}; add what is missing, or fill in "
                    "the questions.csv that `data-miner calibrate PROJECT` writes"
                )
            for row in reader:
                word = (row["answer"] or "").strip().lower()
                if word and word not in _ANSWERS:
                    raise ConfigError(
                        f"the answer {word!r} in line {reader.line_num} of {path} is neither 'keep' nor 'drop'; "
                        "correct the answer"
                    )
                frame_id = (row["frame_id"] or "").strip()
                if word and not frame_id:
                    raise ConfigError(
                        f"the frame_id in line {reader.line_num} of {path} is missing; add it, or remove the line"
                    )
                if word:
                    answers[frame_id] = _ANSWERS[word]
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(
            f"{path} does not exist or is a folder; check the path, or fill in the questions.csv that `data-miner "
            "calibrate PROJECT` writes"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        raise ConfigError(f"{path} is not a valid CSV file ({error}); correct it, or save it as CSV again") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from error
    return answers


def write_answers(path: Path, answers: Mapping[str, bool]) -> None:
    """Write a CSV file of answers by frame id, atomically. The same answers yield the same bytes."""
    write_csv(
        path, ["frame_id", "answer"], [[frame_id, answer_word(answers, frame_id)] for frame_id in sorted(answers)]
    )


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file atomically. Cells that a spreadsheet would treat as formulas are escaped."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *([_inert(cell) for cell in row] for row in rows)])
    with atomic_path(path) as partial:
        partial.write_text(buffer.getvalue(), encoding="utf-8")


def unescaped(cell: str) -> str:
    """Return a cell as it was before `write_csv` escaped it."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


def _inert(cell: object) -> object:
    """Return a cell, prefixed with an apostrophe if a spreadsheet would treat it as a formula.

    Text that is a number, such as "-1", is returned unchanged.
    """
    if not isinstance(cell, str) or not cell.startswith(_FORMULA_STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
