"""Search a root for traces of a video: its names, in paths and in files and rows of any format.

Belongs here: searching. Does not belong here: removing what was found (forgetting.py).
"""

import html
import json
import sqlite3
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Integer, RowMapping, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import Base, VideoRow
from data_miner_dagster.domain.keys import VIDEO_STEM

MIN_NEEDLE_LENGTH: Final = 10
"""Shorter strings are searched for only if they are keys. Others, such as "one", also occur in unrelated text."""

_CHUNK_BYTES: Final = 8 << 20
_ROWS_A_PAGE: Final = 500
_PICTURE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_SQLITE_MAGIC: Final = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Trace:
    """A place that still names a video: the path of a file, and the part of it that contains the name."""

    path: Path
    where: str

    def __str__(self) -> str:
        """Return the place as one human-readable line."""
        return f"{self.path}: {self.where}"


def needles_of(videos: Collection[VideoRow], others: Collection[VideoRow] = ()) -> tuple[str, ...]:
    """Return the strings that identify `videos`: their keys, the identities in the keys, sha256s, addresses and titles.

    Strings that are short or shared with one of the `others` prove nothing and are omitted, except for keys. A string
    that contains another one is omitted too, because the shorter one is found wherever the longer one occurs.
    """
    common = {text for other in others for text in (other.title, other.url) if text}
    needles: set[str] = set()
    for video in videos:
        identity = video.key.partition("-")[2]
        texts = {text for text in (identity, video.sha256, video.url, video.title) if text}
        needles |= {video.key, *(text for text in texts if len(text) >= MIN_NEEDLE_LENGTH and text not in common)}
    return tuple(sorted(needle for needle in needles if not any(part != needle and part in needle for part in needles)))


def find_traces(folders: Sequence[Path], needles: Collection[str]) -> Iterator[Trace]:
    """Yield the places under `folders` that contain one of `needles`: file names and parts of files.

    Unreadable files are yielded too. Parquet, NumPy and SQLite files are read by format, all others as bytes. The
    contents of pictures and of video files are not read, because this package writes no names into them.
    """
    wanted = sorted(set(needles))
    forms = _byte_forms(wanted)
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if any(needle in part for needle in wanted for part in path.relative_to(folder).parts):
                yield Trace(path, "its name")
            elif path.is_file() and not _is_media(path):
                where = _where_inside(path, wanted, forms)
                if where is not None:
                    yield Trace(path, where)


def find_rows(connection: Connection, needles: Collection[str], tables: Collection[str] | None = None) -> Iterator[str]:
    """Yield the names of the tables with a row that contains one of `needles`. All tables are searched by default."""
    present = inspect(connection).get_table_names()
    for name in sorted(present if tables is None else set(present) & set(tables)):
        if any(rows_naming(connection, name, needles)):
            yield name


def tables_naming(database: Database, needles: Collection[str]) -> list[str]:
    """Return the catalog tables with a row that contains one of `needles`."""
    with database.reading() as session:
        return list(find_rows(session.connection(), needles, sorted(Base.metadata.tables)))


def rows_naming(connection: Connection, table: str, needles: Collection[str]) -> Iterator[RowMapping]:
    """Yield the rows of a table that contain one of `needles` in any column.

    A table with an integer `id` is read page by page, and any other table in one query.
    """
    forms = text_forms(needles)
    quoted = connection.dialect.identifier_preparer.quote(table)
    columns = {column["name"]: column["type"] for column in inspect(connection).get_columns(table)}
    is_paged = isinstance(columns.get("id"), Integer)
    order = f" WHERE id > :after ORDER BY id LIMIT {_ROWS_A_PAGE}" if is_paged else ""
    page = text(f"SELECT * FROM {quoted}{order}")  # noqa: S608 - a name from the database's own list
    after = -1
    while rows := connection.execute(page, {"after": after} if is_paged else {}).mappings().all():
        yield from (row for row in rows if any(form in said for said in map(_as_text, row.values()) for form in forms))
        if not is_paged:
            break
        after = rows[-1]["id"]


def _as_text(value: object) -> str:
    """Return a value in a row as a string. A compressed value, such as some of Dagster's, is decompressed."""
    if isinstance(value, bytes | memoryview):
        content = bytes(value)
        with suppress(zlib.error):
            content = zlib.decompress(content)
        return content.decode("utf-8", "replace")
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in _PICTURE_SUFFIXES or (path.stem == VIDEO_STEM and path.suffix != ".json")


def _where_inside(path: Path, needles: Sequence[str], forms: Sequence[bytes]) -> str | None:
    """Return the part of a file that contains one of the needles, or None if no part does.

    For an unreadable file, return the reason why it cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            return _in_parquet(path, needles)
        if path.suffix in (".npz", ".npy"):
            return "its rows" if any(needle in text for text in _numpy_texts(path) for needle in needles) else None
        if not _holds(path, forms):
            return None
        return _in_sqlite(path, needles)
    except FileNotFoundError:
        return None  # deleted in the meantime
    except (OSError, ValueError, pa.ArrowException, sqlite3.Error, SQLAlchemyError) as error:
        return f"unreadable, so it may still name the video ({error})"


def _holds(path: Path, forms: Sequence[bytes]) -> bool:
    overlap = max(map(len, forms), default=1) - 1
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            chunk = tail + chunk
            if any(form in chunk for form in forms):
                return True
            tail = chunk[-overlap:] if overlap else b""
    return False


def _in_parquet(path: Path, needles: Sequence[str]) -> str | None:
    with pq.ParquetFile(path) as file:
        metadata = b" ".join(value for pair in (file.schema_arrow.metadata or {}).items() for value in pair)
        if any(form in metadata for form in _byte_forms(needles)):
            return "its metadata"
        columns = [field.name for field in file.schema_arrow if _is_text(field.type)]
        for batch in file.iter_batches(columns=columns) if columns else ():
            for name in batch.schema.names:
                texts = batch.column(name)
                for value in (texts.dictionary if pa.types.is_dictionary(texts.type) else texts.unique()).to_pylist():
                    if value and any(needle in value for needle in needles):
                        return f"column {name}"
    return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type))
    )


def _numpy_texts(path: Path) -> Iterator[str]:
    with np.load(path, allow_pickle=False) if path.suffix == ".npz" else closing(_Single(path)) as arrays:
        for name in arrays.files:
            yield name
            array = arrays[name]
            if array.dtype.kind == "U":
                yield from (str(value) for value in np.unique(array))


class _Single:
    """One .npy file, with the interface of an archive that has one member."""

    files = ("",)

    def __init__(self, path: Path) -> None:
        self._array = np.load(path, allow_pickle=False)

    def __getitem__(self, name: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
        return np.asarray(self._array)

    def close(self) -> None:
        """Do nothing, because the file is already closed."""


def _in_sqlite(path: Path, needles: Sequence[str]) -> str:
    """Return the part of a file that contains one of the needles. The file must contain at least one of them.

    For an SQLite file, the result names the tables with a row that contains a needle, or the space of deleted rows.
    For any other file, it is "its content".
    """
    with path.open("rb") as file:
        if file.read(len(_SQLITE_MAGIC)) != _SQLITE_MAGIC:
            return "its content"
    address = f"{path.absolute().as_uri()}?mode=ro"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool)
    with engine.connect() as connection:
        found = list(find_rows(connection, needles))
    return f"table {', '.join(found)}" if found else "space of deleted rows, not reclaimed while the file was in use"


def text_forms(needles: Collection[str]) -> list[str]:
    """Return the needles in three forms each: unchanged, escaped for JSON, and escaped for HTML."""
    forms = {form for needle in needles for form in (needle, json.dumps(needle)[1:-1], html.escape(needle))}
    return sorted(forms)


def _byte_forms(needles: Collection[str]) -> list[bytes]:
    return [form.encode("utf-8", "surrogatepass") for form in text_forms(needles)]
