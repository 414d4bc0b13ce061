import numpy as np
import pyarrow as pa
import pytest

from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.storage.alignment import check_unique, rows_of_ids, rows_of_indices


def _ids(*names: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(names, pa.string())])


def test_rows_of_ids() -> None:
    def find(wanted: pa.ChunkedArray, known: pa.ChunkedArray) -> list[int]:
        rows: list[int] = rows_of_ids(wanted, known, table="a table", remedy="mend it").tolist()
        return rows

    assert find(_ids(), _ids()) == []
    assert find(_ids(), _ids("a")) == []
    assert find(_ids("b", "a", "b"), _ids("a", "c", "b")) == [2, 0, 2]
    with pytest.raises(PermanentError, match=r"^x and 1 more are missing from a table; mend it$"):
        find(_ids("a", "x", "y"), _ids("a"))
    with pytest.raises(PermanentError, match=r"^a occurs more than once in a table; mend it$"):
        find(_ids("a"), _ids("a", "b", "a"))


def test_check_unique() -> None:
    check_unique(_ids(), table="a table", remedy="mend it")
    check_unique(_ids("a", "b"), table="a table", remedy="mend it")
    with pytest.raises(PermanentError, match="b occurs more than once in a table"):
        check_unique(_ids("a", "b", "b"), table="a table", remedy="mend it")


@pytest.mark.parametrize(
    ("wanted", "known", "expected"),
    [([], [], []), ([], [1], []), ([4, 0, 4], [0, 2, 4], [2, 0, 2]), ([5], [5], [0])],
)
def test_rows_of_indices(wanted: list[int], known: list[int], expected: list[int]) -> None:
    found = rows_of_indices(np.array(wanted, np.int32), np.array(known, np.int32), table="a file", remedy="mend it")
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("wanted", "known", "message"),
    [
        ([3], [], "frame 3 is missing from a file"),
        ([3], [1, 2], "frame 3 is missing from a file"),
        ([0, 1], [0, 2], "frame 1 is missing from a file"),
        ([1], [1, 1], "not sorted by frame"),
        ([1], [2, 1], "not sorted by frame"),
    ],
)
def test_rows_of_indices__that_do_not_fit(wanted: list[int], known: list[int], message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        rows_of_indices(np.array(wanted, np.int32), np.array(known, np.int32), table="a file", remedy="mend it")
