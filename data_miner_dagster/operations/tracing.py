"""Record OpenTelemetry spans: one for each run, each stage in it, and each video or project that a stage works on.

Tracing is off unless the standard variables name a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`, or
`..._TRACES_ENDPOINT`): without one, nothing is imported or measured. Threads of domain/at_work.py inherit the span and
the current work, which becomes the attributes of spans.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from data_miner_dagster import __version__
from data_miner_dagster.domain.at_work import at_work
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.operations.logs import redacted

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PREFIX: Final = "data_miner."
_MAX_WORDS: Final = 500

_open: dict[str, "Span"] = {}
"""The span of each video and project being processed, by key. At most one thread works on each of them."""

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _tracer() -> "Tracer | None":
    """Return the tracer of this process, or None if spans are not collected."""
    is_off = (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if is_off or not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        logger.warning(
            "no spans are sent, because the package %r is missing; install it with "
            "`pip install 'data-miner-dagster[monitoring]'`",
            error.name,
        )
        return None
    name = os.environ.get("OTEL_SERVICE_NAME") or "data-miner"
    provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))  # both read the other standard variables
    return provider.get_tracer("data_miner_dagster", __version__)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Record the block as a span, a child of the thread's span. Spans that start in the block are its children."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    attributes = {f"{_PREFIX}{key}": value for key, value in at_work().known().items()}
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield
        except BaseException as error:
            _mark_failed(opened, error)
            raise


@contextmanager
def item_span(kind: str, item: str) -> Iterator[None]:
    """Record the block's work on a video or project as a span, a child of the thread's span.

    Spans opened by one thread may overlap: in an embedding run, a video's span stays open until its last frame is
    embedded, while the next videos have already begun.
    """
    tracer = _tracer()
    if tracer is None:
        yield
        return
    attributes = {f"{_PREFIX}{key}": value for key, value in {**at_work().known(), kind: item}.items()}
    opened = tracer.start_span(
        f"{at_work().stage or 'work'} {kind}",
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    )
    _open[item] = opened
    try:
        yield
    except BaseException as error:
        _mark_failed(opened, error)
        raise
    finally:
        _open.pop(item, None)
        opened.end()


def noted(outcome: VideoOutcome) -> VideoOutcome:
    """Record an outcome on the span of its video, if the video has a span. Return the outcome."""
    if (opened := _open.get(outcome.video_key)) is not None:
        opened.set_attribute(f"{_PREFIX}outcome", outcome.status.value)
        if outcome.error_kind is not None:
            opened.set_attribute("error.type", outcome.error_kind.value)
        if outcome.status in (OutcomeStatus.FAILED, OutcomeStatus.UNAVAILABLE):
            _set_error(opened, outcome.message)
    return outcome


def _mark_failed(opened: "Span", error: BaseException) -> None:
    """Record an exception on a span, without its traceback and without secrets."""
    opened.set_attribute("error.type", type(error).__name__)
    _set_error(opened, str(error))


def _set_error(opened: "Span", words: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    opened.set_status(Status(StatusCode.ERROR, redacted(words)[:_MAX_WORDS]))
