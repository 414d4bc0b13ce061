"""One cache of compiled statements for all engines of a process.

SQLAlchemy keeps one for each engine. Nearly every test opens databases of its own, and would compile the same
statements again: a tenth of the CPU time of all tests.
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.util import LRUCache

SQLALCHEMYS_CREATE_ENGINE: Final[Callable[..., Engine]] = create_engine


class _CompiledStatements(LRUCache[Any, Any]):
    """Statements by their key, in which the kind of dialect stands for an engine's own dialect."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_shared(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_shared(key), value)


def _shared(key: Any) -> tuple[Any, ...]:
    dialect, *others = key
    return type(dialect), *others


_STATEMENTS: Final = _CompiledStatements(2000)


def create_sharing_engine(*arguments: Any, **options: Any) -> Engine:
    """Do what SQLAlchemy's `create_engine` does, and let the engine use the shared cache."""
    engine = SQLALCHEMYS_CREATE_ENGINE(*arguments, **options)
    engine.update_execution_options(compiled_cache=_STATEMENTS)
    return engine
