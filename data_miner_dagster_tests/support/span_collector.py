"""A collector of spans on loopback, which accepts OTLP over HTTP as an OpenTelemetry collector does."""

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class CollectedSpan:
    """One span, as it was received."""

    name: str
    span_id: bytes
    parent_id: bytes
    is_error: bool
    message: str
    attributes: dict[str, str] = field(hash=False)


class SpanCollector:
    """A server that keeps every span it receives."""

    def __init__(self) -> None:
        self.spans: list[CollectedSpan] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep the spans and the service names of one request."""
        for of_resource in request.resource_spans:
            named = {item.key: item.value.string_value for item in of_resource.resource.attributes}
            self.services.add(named["service.name"])
            for scope in of_resource.scope_spans:
                for span in scope.spans:
                    attributes = {item.key: item.value.string_value for item in span.attributes}
                    is_error = span.status.code == span.status.STATUS_CODE_ERROR
                    self.spans.append(
                        CollectedSpan(
                            span.name, span.span_id, span.parent_span_id, is_error, span.status.message, attributes
                        )
                    )

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
