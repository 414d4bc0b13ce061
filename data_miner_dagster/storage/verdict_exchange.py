"""Verdicts as CSV or Parquet, for moving them to another root or keeping a copy.

Both formats have the same columns and one row per verdict, including undone ones. People also open the CSV files in
spreadsheets, so cells that a spreadsheet would treat as formulas are escaped, and are unescaped when read.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from data_miner_dagster.domain.errors import ConfigError, DamagedFileError
from data_miner_dagster.domain.keys import check_video_key, split_frame_id
from data_miner_dagster.domain.verdicts import FramePlace, RelativeBox, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster.storage.answers import unescaped, write_csv
from data_miner_dagster.storage.tables import read_table, table_from_rows, write_table

_Word = TypeVar("_Word", bound=StrEnum)

PARQUET_SUFFIX: Final = ".parquet"
_CORNERS: Final = ("x_min", "y_min", "x_max", "y_max")
_TEXT: Final = pa.string()
_NUMBER: Final = pa.float64()
_TIME: Final = pa.timestamp("us", tz="UTC")
EXCHANGE_SCHEMA: Final = pa.schema(
    [
        pa.field("answer_id", _TEXT, nullable=False),
        pa.field("word", _TEXT, nullable=False),
        pa.field("video_key", _TEXT, nullable=False),
        pa.field("pts_seconds", _NUMBER, nullable=False),
        pa.field("frame_id", _TEXT, nullable=False),
        pa.field("other_video_key", _TEXT),
        pa.field("other_pts_seconds", _NUMBER),
        pa.field("other_frame_id", _TEXT),
        pa.field("class_name", _TEXT),
        *(pa.field(name, _NUMBER) for name in _CORNERS),  # shares of width and height
        pa.field("detector", _TEXT),
        pa.field("revision", _TEXT),
        pa.field("confidence", _NUMBER),
        pa.field("new_class_name", _TEXT),
        *(pa.field(f"new_{name}", _NUMBER) for name in _CORNERS),
        pa.field("queue", _TEXT, nullable=False),
        pa.field("who", _TEXT, nullable=False),
        pa.field("given_at", _TIME, nullable=False),
        pa.field("replaces", _TEXT),
        pa.field("undone_at", _TIME),
        pa.field("undone_by", _TEXT),
    ]
)
_NEEDED: Final = frozenset(field.name for field in EXCHANGE_SCHEMA if not field.nullable and field.name != "who")


@dataclass(frozen=True, slots=True)
class ExchangedVerdict:
    """A verdict, and when and by whom it was undone. `undone_at` is None if it was not undone."""

    verdict: Verdict
    undone_at: datetime | None = None
    undone_by: str | None = None


def write_verdicts(path: Path, verdicts: Iterable[ExchangedVerdict]) -> int:
    """Atomically write verdicts in the given order, in the format named by the suffix of `path`.

    Returns:
        The number of verdicts.

    Raises:
        ConfigError: the suffix is neither .csv nor .parquet.
    """
    rows = [_row(one) for one in verdicts]
    if path.suffix == PARQUET_SUFFIX:
        write_table(path, table_from_rows(rows, EXCHANGE_SCHEMA), fingerprint="verdicts")
    elif path.suffix == ".csv":
        write_csv(path, EXCHANGE_SCHEMA.names, [[_cell(row[name]) for name in EXCHANGE_SCHEMA.names] for row in rows])
    else:
        raise ConfigError(f"{path} does not end with .csv or {PARQUET_SUFFIX}; choose a file name that does")
    return len(rows)


def _cell(value: object) -> object:
    """Return a value as a CSV cell. A float becomes its `repr`, which is read back as exactly the same float."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else value


def csv_columns(path: Path) -> tuple[str, ...]:
    """Return the names of the columns of a CSV file.

    Raises:
        ConfigError: the file does not exist, is a folder, cannot be read, or is not CSV in UTF-8.
    """
    with _csv_lines(path) as reader:
        return tuple(reader.fieldnames or ())


def read_verdicts(path: Path) -> list[ExchangedVerdict]:
    """Return the verdicts in a file written by `write_verdicts`, or in another file with the same columns, in order.

    Raises:
        ConfigError: the file does not exist, cannot be read or lacks a column, or a line is not a verdict.
    """
    rows = _parquet_rows(path) if path.suffix == PARQUET_SUFFIX else _csv_rows(path)
    verdicts = []
    for place, row in rows:
        try:
            verdicts.append(_verdict(row))
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{place} of {path} is not a valid verdict ({error}); correct or remove it") from error
    return verdicts


@contextmanager
def _csv_lines(path: Path) -> "Iterator[csv.DictReader[str]]":
    """Yield a reader of the rows of a CSV file as dicts. A byte order mark from a spreadsheet is ignored.

    Raises:
        ConfigError: the file does not exist, is a folder, cannot be read, or is not CSV in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield csv.DictReader(file)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path} does not exist or is a folder; check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise ConfigError(f"{path} is not a valid CSV file ({error}); correct it, or save it as CSV again") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from error


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with _csv_lines(path) as reader:
        _check_columns(path, reader.fieldnames or ())
        for row in reader:
            yield f"line {reader.line_num}", {name: unescaped(cell) if cell else None for name, cell in row.items()}


def _parquet_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        table = read_table(path)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path} does not exist or is a folder; check the path") from None
    except DamagedFileError as error:
        raise ConfigError(
            f"{path} cannot be read as Parquet; write the file again with `data-miner review export PROJECT --to FILE`"
        ) from error
    _check_columns(path, table.column_names)
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"row {number}", row


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if missing := sorted(_NEEDED - set(columns)):
        columns_are, them = ("the column", "it") if len(missing) == 1 else ("the columns", "them")
        raise ConfigError(
            f"{path} lacks {columns_are} {', '.join(missing)}; add {them}, write the file again with `data-miner "
            "review export PROJECT --to FILE`, or give a CSV file with the columns frame_id and answer"
        )


def _row(one: ExchangedVerdict) -> dict[str, object]:
    verdict, shown, other = one.verdict, one.verdict.shown, one.verdict.other_place
    return {
        "answer_id": verdict.answer_id,
        "word": verdict.word.value,
        "video_key": verdict.place.video_key,
        "pts_seconds": verdict.place.pts_seconds,
        "frame_id": verdict.frame_id,
        "other_video_key": other.video_key if other else None,
        "other_pts_seconds": other.pts_seconds if other else None,
        "other_frame_id": verdict.other_frame_id,
        "class_name": shown.class_name if shown else None,
        **dict(zip(_CORNERS, shown.box if shown else [None] * 4, strict=True)),
        "detector": shown.detector if shown else None,
        "revision": shown.revision if shown else None,
        "confidence": shown.confidence if shown else None,
        "new_class_name": verdict.new_class_name,
        **dict(zip((f"new_{name}" for name in _CORNERS), verdict.new_box or [None] * 4, strict=True)),
        "queue": verdict.queue.value,
        "who": verdict.who,
        "given_at": verdict.given_at,
        "replaces": verdict.replaces,
        "undone_at": one.undone_at,
        "undone_by": one.undone_by,
    }


def _verdict(row: Mapping[str, Any]) -> ExchangedVerdict:
    empty = sorted(name for name in _NEEDED if row.get(name) is None)
    if empty:
        raise ValueError(f"{', '.join(empty)} must not be empty")
    box = _box(row, "")
    class_name = row.get("class_name")
    if (box is None) is not (class_name is None):
        raise ValueError("the box and class_name must be given together")
    shown = None
    if box is not None and class_name is not None:
        shown = ShownBox(class_name, box, row.get("detector"), row.get("revision"), _number(row, "confidence"))
    verdict = Verdict(
        answer_id=_short(row["answer_id"]),
        word=_one_of(VerdictWord, row, "word"),
        place=_place(row, "video_key", "pts_seconds", "frame_id"),
        frame_id=row["frame_id"],
        queue=_one_of(ReviewQueue, row, "queue"),
        who=row.get("who") or "",  # earlier versions did not always store it
        given_at=_time(row, "given_at"),
        shown=shown,
        new_class_name=row.get("new_class_name"),
        new_box=_box(row, "new_"),
        other_place=_place(row, "other_video_key", "other_pts_seconds", "other_frame_id")
        if row.get("other_video_key")
        else None,
        other_frame_id=row.get("other_frame_id"),
        replaces=row.get("replaces"),
    )
    undone_at = _time(row, "undone_at") if row.get("undone_at") else None
    return ExchangedVerdict(verdict, undone_at, row.get("undone_by"))


def _one_of(words: type[_Word], row: Mapping[str, Any], name: str) -> _Word:
    try:
        return words(row[name])
    except ValueError:
        raise ValueError(f"{name} is {row[name]!r}; use one of {', '.join(words)}") from None


def _short(answer_id: str) -> str:
    if len(answer_id) > 64:
        raise ValueError(f"answer_id {answer_id!r} is longer than 64 characters")
    return answer_id


def _place(row: Mapping[str, Any], key_column: str, seconds_column: str, frame_column: str) -> FramePlace:
    video_key, frame_id, pts_seconds = row[key_column], row.get(frame_column), _number(row, seconds_column)
    check_video_key(video_key)
    if frame_id is None:
        raise ValueError(f"{frame_column} is missing")
    try:
        is_of_video = split_frame_id(frame_id)[0] == video_key
    except ValueError:
        is_of_video = False
    if not is_of_video:
        raise ValueError(f"{frame_column} {frame_id!r} is not a frame of {video_key}")
    if pts_seconds is None:
        raise ValueError(f"{seconds_column} is missing")
    if pts_seconds < 0:
        raise ValueError(f"{seconds_column} is {pts_seconds}, but a time must be at least 0 seconds")
    return FramePlace(video_key, pts_seconds)


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{name} is {value!r}, which is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}, which is not a finite number")
    return number


def _box(row: Mapping[str, Any], prefix: str) -> RelativeBox | None:
    values = [_number(row, f"{prefix}{name}") for name in _CORNERS]
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    if len(numbers) < len(values):
        raise ValueError(f"the {'new ' if prefix else ''}box has only {len(numbers)} of 4 coordinates")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _time(row: Mapping[str, Any], name: str) -> datetime:
    value = row[name]
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{name} is {value!r}; use a time such as 2026-01-31T12:00:00+00:00") from None
    if time.tzinfo is None:
        raise ValueError(f"{name} {value} has no time zone; add one, such as +00:00")
    return time
