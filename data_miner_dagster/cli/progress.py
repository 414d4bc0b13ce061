"""Show this package's log messages as a command's progress, without Dagster's own log, optionally as JSON."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import data_miner_dagster
from data_miner_dagster.cli.output import PlainConsole, echo
from data_miner_dagster.config.settings import LoggingConfig
from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.operations.logs import redacted, set_up_logging

console = PlainConsole(soft_wrap=True)


class _ConsoleLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else None
        console.print(f"  {printable(redacted(record.getMessage()))}", style=style)


class _StderrLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        echo(redacted(record.getMessage()), err=True)


@contextmanager
def steps_on_stderr() -> Iterator[None]:
    """While the block runs, show on standard error the progress that operations/progress.py logs.

    Standard output is left to the command's result, which programs may read.
    """
    # by name, because importing the module is slow
    with _heard(f"{data_miner_dagster.__name__}.operations.progress", _StderrLines()):
        yield


@contextmanager
def progress_lines(config: LoggingConfig, *, on_stderr: bool = False) -> Iterator[None]:
    """Show this package's log messages of level INFO and above while the block runs.

    If the settings ask for JSON, JSON logging is set up for the rest of the process instead.

    Args:
        config: the `platform.logging` section.
        on_stderr: whether to show the messages on standard error, so that standard output contains only the result.
    """
    if config.format == "json":
        set_up_logging(config)
        yield
        return
    handler = _StderrLines(level=logging.INFO) if on_stderr else _ConsoleLines(level=logging.INFO)
    with _heard(data_miner_dagster.__name__, handler):
        yield


@contextmanager
def _heard(name: str, handler: logging.Handler) -> Iterator[None]:
    """While the block runs, send a logger's messages of level INFO and above to this handler and no other."""
    logger = logging.getLogger(name)
    level, propagate, others = logger.level, logger.propagate, list(logger.handlers)
    for other in others:
        logger.removeHandler(other)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        for other in others:
            logger.addHandler(other)
        logger.setLevel(level)
        logger.propagate = propagate
