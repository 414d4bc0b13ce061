"""What it means that a derived file cannot be read: it counts as absent, and is made again.

Every reader of a derived file reads inside `reading`, so that the libraries' many ways to say it become one.
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
    NotImplementedError,  # a compression method that there is not
    TypeError,
    ValueError,
)
_REMEDY: Final = "it is removed and made again by the next run, or by `data-miner doctor --fix`"


def _said_by_libraries() -> tuple[type[Exception], ...]:
    """Looked up when something was raised: PyArrow is costly to import, and raises nothing where it is not."""
    arrow = sys.modules.get("pyarrow")
    return _SAID_BY_LIBRARIES if arrow is None else (*_SAID_BY_LIBRARIES, arrow.ArrowException)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Let what reading `path` raises be `DamagedFileError`, unless the file is missing or the system says why not.

    Raises:
        DamagedFileError: its bytes are not what was written.
        OSError: it is missing, or the disk, the rights or the network fail: the file may be whole.
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
