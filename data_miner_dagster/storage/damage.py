"""Recognize unreadable derived files, which count as missing and are recreated.

Every reader of a derived file reads inside `reading`, which converts the various errors that libraries raise to a
single one.
"""

import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import DamagedFileError

_SAID_BY_LIBRARIES: Final = (
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,  # an unknown compression method
    TypeError,
    ValueError,
)
_REMEDY: Final = "the next run, or `data-miner doctor --fix`, removes the file, and it is recreated"


def _said_by_libraries() -> tuple[type[Exception], ...]:
    """Return the exceptions that libraries raise for damaged files.

    PyArrow is slow to import, so it is not imported for its exception. If it is not loaded, it cannot have raised one.
    """
    arrow = sys.modules.get("pyarrow")
    return _SAID_BY_LIBRARIES if arrow is None else (*_SAID_BY_LIBRARIES, arrow.ArrowException)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert the errors that libraries raise while they read `path` into `DamagedFileError`.

    Errors of the operating system pass through.

    Raises:
        DamagedFileError: the bytes of the file are damaged.
        OSError: the file is missing, access is denied, or the disk or network has failed. The file itself may be
            intact.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None or isinstance(error, FileNotFoundError):
            raise
        raise damaged(path, error) from error  # Arrow: "Couldn't deserialize thrift"
    except _said_by_libraries() as error:
        raise damaged(path, error) from error


def damaged(path: Path, why: object) -> DamagedFileError:
    """Return the error for a derived file that cannot be read."""
    text = str(why).strip() or type(why).__name__
    return DamagedFileError(f"{path} is damaged ({text.splitlines()[0][:120]}); {_REMEDY}")
