"""How the log looks: text for people or one JSON object a line for Loki, and no secret in either."""

import json
import logging
import re
import sys
import time
from typing import Any, Final, TextIO

import data_miner_dagster
from data_miner_dagster.config.settings import LoggingConfig
from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.sites.redaction import redact

_STANDARD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_DATABASE_PASSWORD: Final = re.compile(r"(\b[a-z][a-z0-9+]{0,30}://[^\s:/@]+:)[^\s@/]+(@)")
_MARK: Final = "_data_miner_handler"


def redacted(text: str) -> str:
    """Return a text without cookies, tokens, signed query strings of URLs, and passwords of database URLs."""
    return _DATABASE_PASSWORD.sub(r"\1***\2", with_references(redact(text)))


class RedactingFilter(logging.Filter):
    """Takes secrets out of every record before any handler sees its text; never drops one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place."""
        record.msg, record.args = redacted(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = printable(redacted(logging.Formatter().formatException(record.exc_info)))
        return True


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, and whatever `extra` was given."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        content: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD_FIELDS:
                content[name] = value if isinstance(value, (int, float, bool, type(None))) else redacted(str(value))
        if record.exc_text:
            content["exception"] = record.exc_text
        return printable(json.dumps(content, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """A line for people, on which nothing a site says can look like another line or move the cursor."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """Return the line, without a traceback."""
        return printable(super().formatMessage(record).replace("\n", "\\n"))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's own name
        """Return a traceback."""
        return printable(super().formatException(ei))


def set_up_logging(
    config: LoggingConfig, *, verbose: bool = False, stream: TextIO | None = None, only_if_unset: bool = False
) -> None:
    """Send what our loggers say to stderr as `config` wants it. A second call replaces the first.

    `only_if_unset` leaves a process alone in which somebody listens already: `data-miner run` shows progress itself.
    Only the loggers of this package are touched: the root logger is the application's, or Dagster's.
    """
    logger = logging.getLogger(data_miner_dagster.__name__)
    if only_if_unset and logger.handlers:
        return
    for handler in [handler for handler in logger.handlers if getattr(handler, _MARK, False)]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    setattr(handler, _MARK, True)
    handler.addFilter(RedactingFilter())
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else config.level)
