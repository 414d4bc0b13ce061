"""Files that are derived once from fetched weights and stored in the model cache.

They are ONNX graphs and the embeddings of class names.

Belongs here: the location and the atomic creation of these files. Does not belong here: their content.
"""

from collections.abc import Callable
from pathlib import Path

from data_miner_dagster.domain.leftovers import scratch_folder
from data_miner_dagster.models.cache import model_cache_folder


def derived_file(name: str, fingerprint: str, make: Callable[[Path], None]) -> Path:
    """Return the path of a derived file. Create the file first if it is not in the model cache.

    Args:
        name: the file name; the fingerprint is inserted before the suffix.
        fingerprint: covers everything that determines the content.
        make: a function that writes the file to the given path. If it raises, the exception is passed on and no
            file is stored.

    Raises:
        OSError: the model cache cannot be written to.
    """
    stem, _, suffix = name.rpartition(".")
    path = model_cache_folder() / "derived" / f"{stem}-{fingerprint}.{suffix}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(path.parent) as scratch:
            unfinished = scratch / path.name
            make(unfinished)
            unfinished.replace(path)
    return path
