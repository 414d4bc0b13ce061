"""Format the log as human-readable text, or as one JSON object per line for Loki. Neither contains secrets.

Every line names the known parts of the current work (domain/at_work.py), in fields of its JSON object or at the end of
its text.
"""

import logging
import math
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import data_miner_dagster
from data_miner_dagster.config.settings import LoggingConfig
from data_miner_dagster.domain.at_work import at_work
from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.sites.redaction import redact

_DATABASE_PASSWORD: Final = re.compile(r"(\b[a-z][a-z0-9+]{0,30}://[^\s:/@]+:)[^\s@/]+(@)")
_MARK: Final = "_data_miner_handler"
_SHOWN_RUN: Final = 8
"""The number of characters of a run's id that are shown, as on Dagster's pages."""
_JSON_NAMES: Final = {"levelname": "level", "name": "logger", "exc_info": "exception"}


def redacted(text: str) -> str:
    """Return a string without registered secrets, cookies, tokens, signed query strings, or database passwords."""
    return _DATABASE_PASSWORD.sub(r"\1***\2", with_references(redact(text)))


class RedactingFilter(logging.Filter):
    """Removes secrets from every record before any handler sees its text. Never drops a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Remove secrets from the record, in place. Return True."""
        record.msg, record.args = redacted(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = printable(redacted(logging.Formatter().formatException(record.exc_info)))
        return True


class WorkFilter(logging.Filter):
    """Adds the current work of a record's thread to the record. Never drops a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the current work to the record, except for fields that the record already has. Return True."""
        for name, value in at_work().known().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


def json_formatter() -> logging.Formatter:
    """Return a formatter that writes a record's time, level, logger, message, current work and `extra` as JSON."""
    from pythonjsonlogger.json import JsonFormatter

    class Formatter(JsonFormatter):
        """Formats a record as JSON, without secrets and without characters that a terminal acts on."""

        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return {
                name: value if value is None or _is_number(value) else redacted(str(value))
                for name, value in log_data.items()
            }

        def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
            written = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            log_data["time"] = written.replace("+00:00", "Z")
            super().add_fields(log_data, record, message_dict)

        def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's own name
            return printable(redacted(str(super().formatException(ei))))

        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record))

    return Formatter(["levelname", "name", "message"], rename_fields=_JSON_NAMES, json_ensure_ascii=False)


def _is_number(value: object) -> bool:
    """Return whether a value is a number or boolean that JSON can represent."""
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


class TextFormatter(logging.Formatter):
    """Formats a record as a human-readable line. Text from a site cannot forge another line or control the terminal."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """Return a record as a single line, without a traceback."""
        return printable((super().formatMessage(record) + _what_of(record)).replace("\n", "\\n"))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's own name
        """Return the traceback of an exception, with control characters escaped."""
        return printable(super().formatException(ei))


def _what_of(record: logging.LogRecord) -> str:
    said = vars(record)
    known = [f"{name}={said[name]}" for name in ("stage", "project", "video") if name in said]
    if "run_id" in said:
        known.append(f"run={str(said['run_id'])[:_SHOWN_RUN]}")
    return f" [{' '.join(known)}]" if known else ""


def set_up_logging(
    config: LoggingConfig, *, verbose: bool = False, stream: TextIO | None = None, only_if_unset: bool = False
) -> None:
    """Send this package's log to stderr, or to `stream`, in the format of `config`.

    The handler of an earlier call is replaced. With `only_if_unset`, nothing changes in a process that already has
    a handler, because `data-miner run` shows progress itself. Only this package's loggers change, because the root
    logger belongs to the application or to Dagster.
    """
    logger = logging.getLogger(data_miner_dagster.__name__)
    if only_if_unset and logger.handlers:
        return
    for handler in [handler for handler in logger.handlers if getattr(handler, _MARK, False)]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    setattr(handler, _MARK, True)
    handler.addFilter(WorkFilter())
    handler.addFilter(RedactingFilter())
    handler.setFormatter(json_formatter() if config.format == "json" else TextFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else config.level)
