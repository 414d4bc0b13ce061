"""Parse a file from the watched folder in a worker. This module is the entry point of the worker process.

The caller resolves `${...}`, because it has the environment variables. The worker has neither variables nor secrets.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_miner_dagster.config.loading import parse_file
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.workers.serving import serve


def _parse(arguments: dict[str, Any]) -> dict[str, object]:
    path = Path(arguments["path"])
    content = parse_file(path)
    _check_plain(content, path)
    return content


def _check_plain(content: object, path: Path) -> None:
    """Raise a `ConfigError` if the content has a key or value that JSON would change."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if not isinstance(key, str):
                kind = type(key).__name__
                raise ConfigError(f"{path}: YAML reads a key as {kind} ({key!s:.60}); put it in quotes")
            _check_plain(value, path)
    elif isinstance(content, list):
        for value in content:
            _check_plain(value, path)
    elif content is not None and not isinstance(content, str | int | float):
        raise ConfigError(f"{path}: YAML reads a value as {type(content).__name__} ({content!s:.60}); write it as text")


if __name__ == "__main__":
    serve({"parse": _parse})
