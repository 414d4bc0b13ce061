"""Determine whether a hub model is completely in the hub's own cache, without using the network.

A download can be killed between two files, or within one. `config.json` alone therefore does not show that a model is
complete.
"""

import json
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from data_miner_dagster.models.registry import ModelEntry

WANTED_FILES: Final = ("*.json", "*.safetensors", "*.txt", "*.model")
"""The patterns of the files that are fetched."""
_CONFIGURATION: Final = "config.json"
_WEIGHTS: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
"""The file that names the shards of weights that are stored in several files."""


def is_cached(entry: ModelEntry) -> bool:
    """Return whether all needed files of a hub model are in the hub's cache.

    The hub's client stores the list of a model's files before it fetches them. Models that another program fetched file
    by file have no such list. Such a model counts as cached if its configuration and weights are present
    and no download is unfinished.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    find = _finder(entry)
    if find(_CONFIGURATION) is None or not _has_weights(find):
        return False
    try:
        listed = [file.path for file in get_cached_repo_tree(entry.location, revision=entry.revision)]
    except CachedRepoTreeNotFoundError:
        return not _has_unfinished_file(entry)
    return all(find(name) is not None for name in _wanted(listed))


def is_partly_cached(entry: ModelEntry) -> bool:
    """Return whether the configuration of a hub model, but not every needed file, is in the hub's cache."""
    return _finder(entry)(_CONFIGURATION) is not None and not is_cached(entry)


def _finder(entry: ModelEntry) -> Callable[[str], Path | None]:
    """Return a function that maps a file's name to its path in the cache, or to None if the file is missing."""
    from huggingface_hub import try_to_load_from_cache

    def find(name: str) -> Path | None:
        found = try_to_load_from_cache(entry.location, name, revision=entry.revision)
        return Path(found) if isinstance(found, str) else None

    return find


def _wanted(names: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in WANTED_FILES)]


def _has_weights(find: Callable[[str], Path | None]) -> bool:
    """Return whether the weights are in the cache, either as one file or as all the shards that the index names."""
    if find(_WEIGHTS) is not None:
        return True
    index = find(_INDEX)
    if index is None:
        return False
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    return bool(shards) and all(find(str(shard)) is not None for shard in shards)


def _has_unfinished_file(entry: ModelEntry) -> bool:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=entry.location, repo_type="model")
    return any((folder / "blobs").glob("*.incomplete"))
