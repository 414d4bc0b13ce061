"""A real S3 server (moto's) on loopback, behind a proxy that imitates a bad network and a busy server.

Tests connect to the proxy. Each fault applies to a limited number of requests, in order, so a test can say exactly
which request goes wrong.
"""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from data_miner_dagster.config.objects import ObjectsConfig

BUCKET = "clips"
ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"


@dataclass
class Fault:
    """What the proxy does to `num_times` requests that have this method and contain `path` in their path.

    `kind` is "503", "403", "cut" (the connection ends after half of the body), "short" (half of the body is sent, with
    the length of that half), "slow" (one byte is sent, then nothing for `seconds`), or "call" (`call` is called, and
    the request is processed).
    """

    kind: str
    method: str = "GET"
    path: str = ""
    num_times: int = 1
    after: int = 0  # this many matching requests pass first
    seconds: float = 5.0
    call: Callable[[], None] = lambda: None


@dataclass
class FaultyBuckets:
    """The server and its proxy, as a test sees them."""

    endpoint: str  # the address of the proxy
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)  # such as "GET /clips/a.mp4 bytes=0-99"
    lock: threading.Lock = field(default_factory=threading.Lock)
    client: Any = None  # boto3's client, which bypasses the proxy

    def put(self, name: str, content: bytes) -> None:
        """Store an object, bypassing the proxy."""
        self.client.put_object(Bucket=BUCKET, Key=name, Body=content)

    def get(self, name: str) -> bytes:
        """Return an object's content, bypassing the proxy."""
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        return content

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the objects that begin with `prefix`, bypassing the proxy."""
        found: list[str] = []
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            found += [entry["Key"] for entry in page.get("Contents", ())]
        return found

    def num_requests(self, method: str, path: str = "") -> int:
        """Return how many requests with this method and with `path` in their path the proxy has received."""
        return sum(line.startswith(f"{method} ") and path in line for line in self.requests)

    def settings(self, **others: Any) -> dict[str, Any]:
        """Return settings for `platform.objects` that use the proxy and wait only briefly between attempts."""
        store = {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key": "env:TEST_BUCKET_KEY",
            "secret_key": "env:TEST_BUCKET_SECRET",
        }
        return {"stores": {"s3://": store}, "try_delay_seconds": 0.01, "timeout_seconds": 60, **others}

    def config(self, **others: Any) -> ObjectsConfig:
        """Return the validated `settings`."""
        return ObjectsConfig.model_validate(self.settings(**others))

    def fault_for(self, method: str, path: str) -> Fault | None:
        """Return the fault for a request, or None if there is none, and count the request."""
        with self.lock:
            for fault in self.faults:
                if fault.num_times and fault.method == method and fault.path in path:
                    if fault.after:
                        fault.after -= 1
                        return None
                    fault.num_times -= 1
                    return fault
        return None


@contextmanager
def faulty_buckets() -> Iterator[FaultyBuckets]:
    """Yield the server and its proxy, which run until the block ends."""
    import boto3  # takes a second, so only the tests that need it import it
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    buckets = FaultyBuckets("")
    proxy = _ProxyServer(("127.0.0.1", 0), type("Proxy", (_Proxy,), {"buckets": buckets, "upstream": (host, port)}))
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    buckets.endpoint = f"http://127.0.0.1:{proxy.server_address[1]}"
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": "us-east-1"}
    buckets.client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
    buckets.client.create_bucket(Bucket=BUCKET)
    try:
        yield buckets
    finally:
        buckets.client.close()
        proxy.shutdown()
        proxy.server_close()
        server.stop()


class _ProxyServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors, because clients that were killed or stopped waiting reset their connections."""


class _Proxy(BaseHTTPRequestHandler):
    """Forwards requests to the server at `upstream` and its answers to the client, apart from faults."""

    protocol_version = "HTTP/1.1"
    buckets: FaultyBuckets
    upstream: tuple[str, int]

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because a failing test can show `requests`."""

    def serve(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.buckets.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        fault = self.buckets.fault_for(self.command, unquote(self.path)) or Fault("")
        if fault.kind in ("503", "403"):
            self._refuse(int(fault.kind))
            return
        fault.call()
        upstream = http.client.HTTPConnection(*self.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        self._answer(answer, content, fault)

    def _refuse(self, status: int) -> None:
        code = {503: "SlowDown", 403: "AccessDenied"}[status]
        content = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _answer(self, answer: http.client.HTTPResponse, content: bytes, fault: Fault) -> None:
        half = content[: len(content) // 2]
        length = str(len(half)) if fault.kind == "short" else answer.getheader("Content-Length") or str(len(content))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.kind == "slow":
            self.wfile.write(content[:1])
            self.wfile.flush()
            time.sleep(fault.seconds)
        self.wfile.write(half if fault.kind in ("cut", "short", "slow") else content)
        if fault.kind in ("cut", "slow"):
            self.close_connection = True
            self.connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve  # noqa: N815 - names of the library
