"""Files made once from fetched weights and kept beside them: graphs, embedded names.

Belongs here: where they lie and that they appear whole. Does not belong here: what is in them.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from data_miner_dagster.models.cache import model_cache_folder


def derived_file(name: str, fingerprint: str, make: Callable[[Path], None]) -> Path:
    """Return the file made from what `fingerprint` covers, making it if it is not in the model cache yet.

    Args:
        name: its file name; the fingerprint is put before the suffix.
        fingerprint: of everything that decides the content.
        make: writes the file at the path it is given.
    """
    stem, _, suffix = name.rpartition(".")
    path = model_cache_folder() / "derived" / f"{stem}-{fingerprint}.{suffix}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as scratch:
            unfinished = Path(scratch) / path.name
            make(unfinished)
            unfinished.replace(path)
    return path
