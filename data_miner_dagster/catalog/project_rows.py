"""The rows of one project as text, for creating a separate catalog later to rebuild a release.

Belongs here: choosing the rows that a release depends on, and converting them to JSON and back. Does not belong here:
reading and writing files.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Date, Table, insert, select
from sqlalchemy import Enum as EnumType
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import (
    Base,
    BoxAnswerRow,
    ProjectRow,
    ProjectVideoRow,
    UtcDateTime,
    VerdictRow,
    VideoGenerationRow,
    VideoRow,
    VideoSplitRow,
)

_ROWS_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One stored input of a release, as text: a row of a catalog table, facts about a video, or a file's content.

    The facts about each video's frames and the file's content are added by operations/releasing/inputs.py.
    """

    table: str
    video_key: str | None  # the video that the row concerns, if any
    content: str  # for a catalog row: a JSON object that maps each column except `id` to its value


def rows_of_project(session: Session, project: str) -> Iterator[StoredRow]:
    """Yield the rows that a release of a project depends on, in an order in which they can be inserted."""
    for model, condition in _conditions(project):
        table = model.__table__
        query = select(table).where(condition).order_by(*table.primary_key)
        for row in session.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}).mappings():
            about = row.get("key") if model is VideoRow else row.get("video_key")
            # Keys keep their order, since the order of the classes in a configuration matters.
            content = {name: _as_json(value) for name, value in row.items() if name != "id"}
            yield StoredRow(model.__tablename__, about, json.dumps(content, ensure_ascii=False))


def _conditions(project: str) -> Iterator[tuple[type[Base], ColumnElement[bool]]]:
    members = select(ProjectVideoRow.video_key).where(ProjectVideoRow.project_name == project)
    yield ProjectRow, ProjectRow.name == project
    yield VideoRow, VideoRow.key.in_(members)
    yield ProjectVideoRow, ProjectVideoRow.project_name == project
    yield VerdictRow, VerdictRow.project_name == project
    yield VideoSplitRow, VideoSplitRow.project_name == project
    yield VideoGenerationRow, VideoGenerationRow.project_name == project
    yield BoxAnswerRow, BoxAnswerRow.video_key.in_(members)


def add_project_rows(database: Database, rows: Iterable[StoredRow]) -> int:
    """Insert stored rows into a catalog that contains none of them. Return their number.

    In rows from an earlier version, missing columns get their defaults, and columns that no longer exist are ignored.
    """
    tables = {model.__tablename__: cast("Table", model.__table__) for model, _ in _conditions("")}
    num_rows = 0
    with database.transaction() as session:
        for row in rows:
            table = tables[row.table]
            content = json.loads(row.content)
            values = {
                column.name: _from_json(column.type, content[column.name])
                for column in table.columns
                if column.name in content
            }
            session.execute(insert(table).values(values))
            num_rows += 1
    return num_rows


def row_of_project(session: Session, project: str) -> Iterator[StoredRow]:
    """Return an iterator that yields the project's own row, or nothing if the project does not exist."""
    return (row for row in rows_of_project(session, project) if row.table == ProjectRow.__tablename__)


def _as_json(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return value.isoformat() if isinstance(value, date) else value  # a datetime is also a date


def _from_json(kind: Any, value: Any) -> object:
    if value is None:
        return None
    if isinstance(kind, EnumType):
        return kind.enum_class(value) if kind.enum_class is not None else value
    if isinstance(kind, UtcDateTime):
        return datetime.fromisoformat(value)
    return date.fromisoformat(value) if isinstance(kind, Date) else value
