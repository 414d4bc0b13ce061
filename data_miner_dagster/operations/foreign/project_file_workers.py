"""Parse project files in a separate process, because not everyone who can write to the watched folder can be trusted.

The result for a file is cached under the file's identity, so a tick over a thousand unchanged files costs little.
"""

import time
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.workers.errors import WorkerDiedError, WorkerLimitError
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.pool import WorkerPool

JOBS_MODULE: Final = "data_miner_dagster.operations.foreign.project_file_jobs"
_LIMITS: Final = WorkerLimits(wall_seconds=30, cpu_seconds=20, memory_bytes=1 << 30)
_SETTLED_SECONDS: Final = 2.0
"""A file that changed this recently is not cached: a second change might leave its size and time unchanged."""
_MAX_REMEMBERED: Final = 10_000

_Identity = tuple[int, int, int]
_remembered: dict[Path, tuple[_Identity, dict[str, object]]] = {}


class ProjectFileWorkers:
    """A client of one worker that parses files. The first file that is not cached starts the worker."""

    def __init__(self) -> None:
        self._pool = WorkerPool(JOBS_MODULE, size=1)

    def __enter__(self) -> "ProjectFileWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def parse(self, path: Path) -> dict[str, object]:
        """Return the content of a file before interpolation, as `config.loading.parse_file` does.

        Raises:
            ConfigError: `parse_file` raised it, or the file cannot be parsed within the limits.
        """
        identity = _identity(path)
        known = _remembered.get(path)
        if identity is not None and known is not None and known[0] == identity:
            return known[1]
        try:
            content: dict[str, object] = self._pool.call("parse", {"path": str(path)}, limits=_LIMITS)
        except (WorkerLimitError, WorkerDiedError) as error:
            message = f"{path} cannot be parsed (the parser {error}); simplify the file, or remove it"
            raise ConfigError(message) from error
        if identity is not None and identity == _identity(path) and len(_remembered) < _MAX_REMEMBERED:
            _remembered[path] = (identity, content)
        return content


def _identity(path: Path) -> _Identity | None:
    """Return a value that changes with a file's content, or None if the file is unreadable or changed too recently."""
    try:
        status = path.stat()
    except OSError:
        return None
    if time.time() - status.st_mtime < _SETTLED_SECONDS:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)
