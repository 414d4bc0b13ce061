"""Fetch a user's own models from buckets into the model cache.

Files are pinned by sha256, downloads resume, and pickles are refused.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import ModelError, ObjectError, ObjectTransientError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.models.registry import ModelEntry, entries_of
from data_miner_dagster.operations.object_stores import bucket_url, open_bucket
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.protocols.stores import ObjectStore
from data_miner_dagster.storage.atomic import PARTIAL_MARK, flush_tree
from data_miner_dagster.storage.root_lock import LockHeldError, take_root_lock


def fetch_own_weights(config: PlatformConfig, progress: Callable[[str], None]) -> dict[str, Path]:
    """Fetch the models of `platform.models.registry` that are in buckets. Return each model's folder by name.

    Models that are already in the cache are not fetched again. After an interruption, the next call continues the
    unfinished file. `progress` is called with a line before each model is fetched.

    Raises:
        ConfigError: an address or a setting for its bucket is invalid, or a package is missing.
        ModelError: a file cannot be fetched, its sha256 differs from the pinned one, or another process is fetching the
            model.
    """
    entries = [entry for entry in entries_of(config.models).values() if entry.is_in_bucket]
    fetch_from_buckets(config, entries, progress)
    return {entry.name: entry.folder for entry in entries}


def fetch_from_buckets(config: PlatformConfig, entries: Sequence[ModelEntry], progress: Callable[[str], None]) -> None:
    """Fetch the models among `entries` that are in buckets and not yet in the model cache.

    `progress` is called with a line before each model is fetched.

    Raises:
        ConfigError: an address or a setting for its bucket is invalid, or a package is missing.
        ModelError: a file cannot be fetched, its sha256 differs from the pinned one, or another process is fetching the
            model.
    """
    for entry in entries:
        if entry.is_in_bucket and not entry.folder.is_dir():
            progress(f"fetching {entry.source}")
            _fetch(entry, open_bucket(config.objects, bucket_url(entry.source)))


def _fetch(entry: ModelEntry, store: ObjectStore) -> None:
    folder = entry.folder
    partial = folder.with_name(f"{PARTIAL_MARK}{folder.name}")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        lock = take_root_lock(folder.with_name(f"{folder.name}.lock"))
    except LockHeldError as error:
        raise ModelError(
            f"model {entry.name} is being fetched by {error.holder or 'another process'}; try again later"
        ) from None
    try:
        if folder.is_dir():  # the previous holder of the lock has fetched it
            return
        steps = Steps(f"model {entry.name}: fetched", "files", len(entry.files))
        for file in entry.files:
            path = partial / file.path
            if path.is_file() and sha256_of_file(path) == file.sha256:
                steps.advance()
                continue
            store.download(file.path, path)
            if (actual := sha256_of_file(path)) != file.sha256:
                path.unlink()
                raise ModelError(
                    f"model {entry.name}: {store.shown}/{file.path} has sha256 {actual}, not the pinned {file.sha256}; "
                    "replace the file, or correct its sha256 in platform.models.registry"
                )
            steps.advance()
        flush_tree(partial)
        partial.rename(folder)
    except (ObjectError, ObjectTransientError) as error:
        raise ModelError(f"model {entry.name} could not be fetched: {error}") from error
    finally:
        os.close(lock)
