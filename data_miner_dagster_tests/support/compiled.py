"""One cache of compiled statements for all engines of a process.

SQLAlchemy keeps one cache for each engine. Nearly every test opens its own databases, and would compile the same
statements again, which would take a tenth of the CPU time of all tests.
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.util import LRUCache

SQLALCHEMYS_CREATE_ENGINE: Final[Callable[..., Engine]] = create_engine


class _CompiledStatements(LRUCache[Any, Any]):
    """Compiled statements by key. In the keys, the type of an engine's dialect replaces the dialect itself."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_shared(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_shared(key), value)


def _shared(key: Any) -> tuple[Any, ...]:
    dialect, *others = key
    return type(dialect), *others


_STATEMENTS: Final = _CompiledStatements(2000)


def create_sharing_engine(*arguments: Any, **options: Any) -> Engine:
    """Create an engine as SQLAlchemy's `create_engine` does, but with the shared cache."""
    engine = SQLALCHEMYS_CREATE_ENGINE(*arguments, **options)
    engine.update_execution_options(compiled_cache=_STATEMENTS)
    return engine
