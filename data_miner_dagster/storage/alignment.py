"""Check that the rows of two stored tables match.

Rows of two tables are matched by key, never by position alone. Code that relies on a position (a vector's row, a run in
a sorted column) first checks the position with these functions.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.verdicts import SAME_FRAME_SECONDS


def rows_of_ids(wanted: pa.ChunkedArray, known: pa.ChunkedArray, *, table: str, remedy: str) -> npt.NDArray[np.int64]:
    """Return an (N,) array with each wanted id's row number in `known`, counting from 0.

    Args:
        wanted: (N,) ids, in any order.
        known: (M,) ids of the table to search, without repetitions.
        table: the name of that table, for error messages.
        remedy: what the user can do if the ids do not match.

    Raises:
        PermanentError: an id is missing, or `known` contains an id twice.
    """
    known = known.combine_chunks()
    check_unique(known, table=table, remedy=remedy)
    rows = pc.index_in(wanted.combine_chunks(), known)
    if rows.null_count:
        missing = wanted.filter(pc.is_null(rows))
        named = f"{missing[0]} is" if len(missing) == 1 else f"{missing[0]} and {len(missing) - 1:,} more are"
        raise PermanentError(f"{named} missing from {table}; {remedy}")
    return np.asarray(rows.to_numpy(), np.int64)


def check_unique(ids: pa.Array | pa.ChunkedArray, *, table: str, remedy: str) -> None:
    """Check that no id occurs more than once. `table` and `remedy` are for the message, as in `rows_of_ids`.

    Raises:
        PermanentError: an id occurs more than once.
    """
    if pc.count_distinct(ids, mode="all").as_py() == len(ids):
        return
    twice = next(entry["values"] for entry in pc.value_counts(ids).to_pylist() if entry["counts"] > 1)
    raise PermanentError(f"{twice} occurs more than once in {table}; {remedy}")


def rows_of_indices(
    wanted: npt.NDArray[np.integer], known: npt.NDArray[np.integer], *, table: str, remedy: str
) -> npt.NDArray[np.int64]:
    """Return an (N,) array with each wanted frame index's row number in `known`, counting from 0.

    `known` must be strictly ascending. `table` and `remedy` are for messages, as in `rows_of_ids`.

    Raises:
        PermanentError: `known` is not strictly ascending, or a wanted frame index is missing.
    """
    if np.any(known[1:] <= known[:-1]):
        raise PermanentError(f"{table} is not sorted by frame or contains a frame twice; {remedy}")
    rows = np.searchsorted(known, wanted)
    is_there = rows < len(known)
    is_there[is_there] = known[rows[is_there]] == wanted[is_there]
    if not is_there.all():
        raise PermanentError(f"frame {int(wanted[~is_there][0])} is missing from {table}; {remedy}")
    return np.asarray(rows, np.int64)


def position_at(pts_seconds: npt.NDArray[np.float64], seconds: float) -> int | None:
    """Return the index of the time nearest to `seconds`, or None if it is not within `SAME_FRAME_SECONDS`.

    Verdicts name a frame by its time in the video.
    """
    if not len(pts_seconds):
        return None
    nearest = int(np.argmin(np.abs(pts_seconds - seconds)))
    return nearest if abs(pts_seconds[nearest] - seconds) < SAME_FRAME_SECONDS else None
